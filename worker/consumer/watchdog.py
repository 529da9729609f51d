"""Notices that Celery lives and hears nothing."""

import os
import signal
import threading
import time
from typing import Any

import structlog
from celery.signals import task_received, worker_shutting_down
from celery.worker import state

from jobs.errors import ThinkqueueError
from jobs.model.job import Stage
from jobs.table.store import JobStore

log = structlog.get_logger(__name__)

STALL_TIMEOUT_S = 45.0
"""Bells that lie so long beside a free thread are not heard. A half-open connection kombu notices earlier, in 21 s."""
LOOK_S = 5.0
STOP_LIMIT_S = 90.0


class ConsumerWatchdog:
    """Ends a process in order whose Celery is deaf, for its supervisor to start anew."""

    def __init__(self, store: JobStore, stage: Stage, *, threads: int) -> None:
        self._store = store
        self._stage = stage
        self._threads = threads
        self._heard_at = time.monotonic()
        self._leaving = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)

    def start(self) -> None:
        task_received.connect(self._hear, weak=False)
        worker_shutting_down.connect(lambda **_: self._leaving.set(), weak=False)
        self._thread.start()

    def stop(self) -> None:
        """Celery has ended."""
        self._leaving.set()
        self._ended.set()

    def _hear(self, **_: Any) -> None:
        self._heard_at = time.monotonic()

    def _run(self) -> None:
        while not self._leaving.wait(LOOK_S):
            if self._is_fine():
                self._heard_at = time.monotonic()
            elif time.monotonic() - self._heard_at > STALL_TIMEOUT_S:
                log.error("consumer.stalled", stage=self._stage, seconds=STALL_TIMEOUT_S)
                os.kill(os.getpid(), signal.SIGTERM)
                # Whatever made it deaf may keep it from finalizer, too; then its leases run out.
                if not self._ended.wait(STOP_LIMIT_S):
                    os._exit(1)
                return

    def _is_fine(self) -> bool:
        if len(state.active_requests) >= self._threads:
            return True
        try:
            if not self._store.pending_wakeups(self._stage):
                return True
            # Who listens takes a bell out of its list, which is refused as long as Redis writes nothing.
            self._store.integrity.try_write()
        except ThinkqueueError:
            return True  # nothing can be heard from a Redis that is away
        return False
