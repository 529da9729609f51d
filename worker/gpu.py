"""PROCESS: the gpu worker (Celery, threads). ``python -m worker.gpu``.

One process, one resident model. Celery's thread only hears bells; each job has a thread that mostly waits, and the
engine steps in one of its own.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog
from celery import bootsteps

from jobs import bells
from jobs.blobs import Blobs
from jobs.epoch import wait_until_ready
from jobs.errors import NotInitialised, Unavailable
from jobs.logs import configure_logs
from jobs.monitor import watch_over
from jobs.record import Stage
from jobs.scripts import connect
from jobs.settings import Settings
from jobs.store import JobStore
from worker.consumer import consume
from worker.engine import Engine, EngineLimits, EngineLoop
from worker.heart import Heart
from worker.inference import Inference
from worker.meter import tell_of_engine

log = structlog.get_logger(__name__)

DRAIN_S = 15.0
"""What a running job has to end by itself after TERM; then it goes on elsewhere, from its journal."""

POCKET = Path(__file__).parent.parent / "pocket" / "weights"


class Residence(bootsteps.StartStopStep):  # type: ignore[misc]
    """Loads the model before the first bell is heard, and drains before Celery waits for its threads.

    An error in ``start`` ends the process; one in Celery's ``worker_init`` signal would be swallowed,
    and the worker would take jobs without a model.
    """

    requires = frozenset({"celery.worker.components:Pool"})
    inference: Inference | None = None
    loop: EngineLoop | None = None
    is_lost = False
    """The GPU is gone for this process: it hands its jobs back, and another process takes its place."""

    def start(self, parent: Any) -> None:
        settings: Settings = parent.app.settings
        model = str(POCKET) if settings.model == "pocket" else settings.model
        log.info("model.loading", model=settings.model, family=settings.family_name)
        store = JobStore(connect(settings))
        # Told while the model loads, so that nobody starts more workers than are wanted.
        starting = Heart(store, stage=Stage.GPU, slots=0)
        starting.start()
        starting.tell("starting")
        engine = Engine.load(
            model,
            revision=settings.model_revision,
            device=settings.model_device,
            dtype=settings.model_dtype,
            family=settings.family,
            limits=EngineLimits(slots=settings.engine_slots, kv_gib=settings.engine_kv_gib),
        )
        loop = EngineLoop(engine, on_lost=self._lose)
        loop.start()
        inference = Inference(store, Blobs(settings), settings, engine, loop)
        starting.stop()
        inference.start()
        tell_of_engine(engine.stats)
        Residence.loop, Residence.inference = loop, inference
        log.info(
            "worker.ready",
            model=settings.model,
            revision=engine.revision,
            context=engine.context_tokens,
            slots=engine.slots,
            kv_tokens=engine.kv_tokens,
            attention=engine.attention,
        )

    def stop(self, _parent: Any) -> None:
        if self.inference:
            self.inference.drain(grace_s=DRAIN_S)

    def terminate(self, parent: Any) -> None:
        self.stop(parent)

    @staticmethod
    def _lose(reason: str) -> None:
        log.critical("device.lost", reason=reason)
        Residence.is_lost = True
        if Residence.inference:
            Residence.inference.drain(grace_s=0)
        os.kill(os.getpid(), signal.SIGTERM)


def _is_live() -> bool:
    """While the model loads, and as long as the engine finishes its steps."""
    return Residence.inference is None or Residence.inference.heart.is_beating


def _is_ready() -> bool:
    """The model is resident."""
    return Residence.inference is not None and Residence.inference.heart.worker.state == "ready"


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="gpu")
    watch_over(settings, is_live=_is_live, is_ready=_is_ready)
    wait_until_ready(JobStore(connect(settings)), Blobs(settings))
    app = bells.configure(settings)
    app.settings = settings
    app.steps["worker"].add(Residence)

    @app.task(name=bells.TASKS[Stage.GPU])
    def serve(_version: int) -> None:
        assert Residence.inference is not None
        try:
            Residence.inference.serve()
        except (Unavailable, NotInitialised) as error:
            log.warning("bell.unanswered", stage=Stage.GPU, code=error.code)

    try:
        status = consume(app, Stage.GPU, settings, pool="threads", concurrency=1)
    finally:
        if Residence.inference and Residence.loop:
            Residence.inference.stop()
            Residence.loop.stop(timeout_s=5)
    sys.exit(1 if Residence.is_lost else status)


if __name__ == "__main__":
    main()
