"""PROCESS: the generate worker (Celery, threads). ``python -m worker.generate``.

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

from engine import Engine, EngineConfig, EngineLoop
from jobs.errors import NotInitialized, Unavailable
from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.wakeup import notify
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.settings import Settings
from worker.consumer.bootstrap import consume
from worker.generate.engine_metrics import register_engine_metrics
from worker.generate.worker import GenerateWorker
from worker.heartbeat import Heartbeat

log = structlog.get_logger(__name__)

DRAIN_S = 15.0
"""What a running job has to end by itself after TERM; then it goes on elsewhere, from its journal."""

POCKET = Path(__file__).parents[2] / "pocket" / "weights"


class Residence(bootsteps.StartStopStep):  # type: ignore[misc]
    """Loads the model before the first bell is heard, and drains before Celery waits for its threads.

    An error in ``start`` ends the process; one in Celery's ``worker_init`` signal would be swallowed,
    and the worker would take jobs without a model.
    """

    requires = frozenset({"celery.worker.components:Pool"})
    inference: GenerateWorker | None = None
    loop: EngineLoop | None = None
    is_lost = False
    """The GPU is gone for this process: it hands its jobs back, and another process takes its place."""

    def start(self, parent: Any) -> None:
        settings: Settings = parent.app.settings
        model = str(POCKET) if settings.model == "pocket" else settings.model
        log.info("model.loading", model=settings.model, family=settings.family_name)
        store = JobStore(connect(settings), lease_s=settings.lease_s)
        # Told while the model loads, so that nobody starts more workers than are wanted.
        starting = Heartbeat(store, stage=Stage.GENERATE, slots=0, interval_s=settings.heartbeat_s)
        starting.start()
        starting.set_state("starting")
        engine = Engine.load(
            model,
            revision=settings.model_revision,
            device=settings.model_device,
            dtype=settings.model_dtype,
            family=settings.family,
            config=EngineConfig(slots=settings.engine_slots, kv_cache_gib=settings.engine_kv_gib),
        )
        loop = EngineLoop(engine, on_lost=self._lose)
        loop.start()
        inference = GenerateWorker(store, ObjectStore(settings), settings, engine, loop)
        starting.stop()
        inference.start()
        register_engine_metrics(engine.stats)
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
    return Residence.inference is None or Residence.inference.heartbeat.is_beating


def _is_ready() -> bool:
    """The model is resident."""
    return Residence.inference is not None and Residence.inference.heartbeat.worker.state == "ready"


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="generate")
    start_probe_server(settings, is_live=_is_live, is_ready=_is_ready)
    wait_until_ready(JobStore(connect(settings), lease_s=settings.lease_s), ObjectStore(settings))
    app = notify.configure(settings)
    app.settings = settings
    app.steps["worker"].add(Residence)

    @app.task(name=notify.TASKS[Stage.GENERATE])
    def serve(_version: int) -> None:
        assert Residence.inference is not None
        try:
            Residence.inference.claim_available()
        except (Unavailable, NotInitialized) as error:
            log.warning("wakeup.failed", stage=Stage.GENERATE, code=error.code)

    try:
        status = consume(app, Stage.GENERATE, settings, pool="threads", concurrency=1)
    finally:
        if Residence.inference and Residence.loop:
            Residence.inference.stop()
            Residence.loop.stop(timeout_s=5)
    sys.exit(1 if Residence.is_lost else status)


if __name__ == "__main__":
    main()
