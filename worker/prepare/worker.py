"""Claims jobs of the prepare stage and prepares one after the other."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob
from jobs.wakeup.notify import notify
from runtime.settings import Settings
from worker.heartbeat import Heartbeat, Lease
from worker.prepare.preparer import Preparer
from worker.stage_runner import JobReleased, StageRunner

WAKEUP_LIMIT_S = 60.0
"""Work for one wake-up. Then the worker sends another one, so that Celery's time limit can tell work from a hang."""
SETTLE_TIMEOUT_S = 300.0
"""How long to retry the end of a job while the object store is away."""


class PrepareWorker:
    """The prepare worker of one process."""

    def __init__(self, store: JobStore, object_store: ObjectStore, settings: Settings) -> None:
        self._store = store
        self._drain_grace_s = settings.prepare_drain_grace_s
        self._is_interruptible = False
        self._preparer = Preparer(store, object_store, settings)
        self._heartbeat = Heartbeat(
            store,
            stage=Stage.PREPARE,
            slots=1,
            interval_s=settings.heartbeat_s,
            is_progressing=lambda: not self._preparer.is_overdue,
        )
        finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
        self._runner = StageRunner(
            store,
            finalizer,
            self._heartbeat,
            self._prepare,
            stage=Stage.PREPARE,
            settle_timeout_s=SETTLE_TIMEOUT_S,
        )

    def start(self, *, wait_for_drain: Callable[[], object]) -> None:
        """Register the worker; call it in the main thread of the process, which handles signals.

        Args:
            wait_for_drain: blocks until the worker shuts down. A job that is not prepared ``PREPARE_DRAIN_GRACE_S``
                seconds later is released.
        """
        self._heartbeat.start()
        self._heartbeat.set_state("ready")

        def interrupt(*_: object) -> None:
            if self._is_interruptible:
                raise JobReleased("drain")

        def watch() -> None:
            wait_for_drain()
            self._runner.drain.begin(grace_s=self._drain_grace_s)
            self._heartbeat.set_state("draining")
            time.sleep(self._runner.drain.remaining_s)
            os.kill(os.getpid(), signal.SIGUSR2)

        # A signal interrupts whatever the main thread waits for: a slow host, a decoder, a server.
        signal.signal(signal.SIGUSR2, interrupt)
        threading.Thread(target=watch, name="drain", daemon=True).start()

    def stop(self) -> None:
        self._heartbeat.stop()

    def claim_available(self) -> None:
        """Handle a wake-up: prepare jobs until none waits.

        Raises:
            Unavailable, NotInitialized
        """
        give_way_at = time.monotonic() + WAKEUP_LIMIT_S
        while not self._runner.drain.has_begun:
            claimed = self._runner.claim()
            if claimed is None:
                return
            self._runner.run(claimed)
            # The server that did not answer is away for the next job, too.
            self._runner.drain.wait(self._runner.backoff.remaining_s)
            if time.monotonic() >= give_way_at:
                break
        notify(self._store, Stage.PREPARE)

    def _prepare(self, claimed: ClaimedJob, _lease: Lease, job_log: Any) -> None:
        self._is_interruptible = True
        try:
            if self._runner.drain.is_over:
                raise JobReleased("drain")
            required_tokens = self._preparer.prepare(claimed.job)
        finally:
            self._is_interruptible = False
        job_log.info("job.prepared", required_tokens=required_tokens)
        notify(self._store, Stage.GENERATE)
