"""The life of a generate worker's process: load the model, serve, drain, stop."""

import os
import signal
import time
from pathlib import Path

import structlog

from engine import Engine, EngineConfig, EngineLoop, ModelLoadError
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import EngineLoad
from runtime.process.stall_exit import exit_when_stalled
from runtime.settings import Settings
from worker.generate.engine_metrics import register_engine_metrics
from worker.generate.worker import GenerateWorker
from worker.heartbeat import Heartbeat

log = structlog.get_logger(__name__)

POCKET_WEIGHTS = Path(__file__).parents[2] / "pocket" / "weights"


class GenerateProcess:
    """Owns the engine, its loop and the heartbeat of this process."""

    def __init__(self, store: JobStore, object_store: ObjectStore, settings: Settings) -> None:
        self.is_device_lost = False
        """This process cannot use its GPU any more: it releases its jobs, and its supervisor starts another process."""
        self._store = store
        self._object_store = object_store
        self._settings = settings
        self._loop: EngineLoop | None = None
        self._worker: GenerateWorker | None = None
        self._heartbeat = Heartbeat(
            store,
            stage=Stage.GENERATE,
            slots=0,
            interval_s=settings.heartbeat_s,
            is_progressing=self.is_live,
            engine_load=self._engine_load,
        )

    def start(self) -> None:
        """Load the model and become ready for jobs. An error means that the process must end.

        Raises:
            SystemExit: the model cannot be loaded; the log says why.
        """
        settings = self._settings
        log.info("model.loading", model=settings.model, family=settings.family_name)
        # Registered while the model loads, so that the autoscaler does not start more workers than it wants.
        self._heartbeat.start()
        engine = self._load_engine()
        self._loop = EngineLoop(engine, on_lost=self._handle_device_loss)
        self._loop.start()
        exit_when_stalled(self.is_live, timeout_s=settings.stall_exit_s)
        self._worker = GenerateWorker(self._store, self._object_store, settings, engine, self._loop, self._heartbeat)
        self._worker.start()
        register_engine_metrics(engine.stats)
        log.info(
            "worker.ready",
            model=settings.model,
            revision=engine.revision,
            context=engine.context_tokens,
            slots=engine.slots,
            kv_tokens=engine.kv_tokens,
            attention=engine.attention,
        )

    def _load_engine(self) -> Engine:
        settings = self._settings
        try:
            return Engine.load(
                str(POCKET_WEIGHTS) if settings.model == "pocket" else settings.model,
                revision=settings.model_revision,
                device=settings.model_device,
                dtype=settings.model_dtype,
                family=settings.family,
                config=EngineConfig(
                    slots=settings.engine_slots,
                    kv_cache_gib=settings.engine_kv_gib,
                    prefix_cache=settings.engine_prefix_cache,
                ),
            )
        except ModelLoadError as error:
            log.critical("model.unusable", reason=str(error))
            raise SystemExit(1) from error

    def claim_available(self) -> None:
        """Handle a wake-up. Raises Unavailable, NotInitialized."""
        assert self._worker is not None
        self._worker.claim_available()

    def drain(self) -> None:
        """Claim no more jobs; release those that still run after ``GENERATE_DRAIN_GRACE_S``."""
        if self._worker:
            self._worker.drain(grace_s=self._settings.generate_drain_grace_s)

    def stop(self) -> None:
        """Wait for the jobs, then stop the engine's loop; call it after ``drain``."""
        if self._worker and self._loop:
            self._worker.stop()
            self._loop.stop(timeout_s=5)

    def is_live(self) -> bool:
        """Return whether the model is loading, or the engine finishes its steps."""
        stalled_s = time.monotonic() - self._loop.last_progress if self._loop else 0.0
        return stalled_s < self._settings.engine_stall_timeout_s

    def is_ready(self) -> bool:
        """Return whether the model is loaded and the worker does not drain."""
        return self._heartbeat.worker.state == "ready"

    def _engine_load(self) -> EngineLoad:
        return self._worker.engine_load() if self._worker else EngineLoad()

    def _handle_device_loss(self, reason: str) -> None:
        log.critical("device.lost", reason=reason)
        self.is_device_lost = True
        if self._worker:
            self._worker.drain(grace_s=0)
        os.kill(os.getpid(), signal.SIGTERM)
