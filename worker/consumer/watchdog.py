"""Restarts the worker when its Celery consumer stops receiving wake-ups."""

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
from runtime.settings import Settings

log = structlog.get_logger(__name__)


class ConsumerWatchdog:
    """Sends SIGTERM to this process when wake-ups stay in the queue although a thread of the pool is free.

    The supervisor starts a new process. kombu itself notices a half-open connection earlier, after 21 s.
    """

    def __init__(self, store: JobStore, stage: Stage, settings: Settings, *, threads: int) -> None:
        """
        Args:
            threads: wake-ups that the pool handles at once.
        """
        self._store = store
        self._stage = stage
        self._threads = threads
        self._stall_timeout_s = settings.consumer_stall_timeout_s
        self._check_interval_s = settings.consumer_check_interval_s
        self._stop_timeout_s = settings.consumer_stop_timeout_s
        self._received_at = time.monotonic()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer-watchdog", daemon=True)

    def start(self) -> None:
        task_received.connect(self._record_wakeup, weak=False)
        worker_shutting_down.connect(lambda **_: self._stopping.set(), weak=False)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching: Celery's worker has ended."""
        self._stopping.set()
        self._stopped.set()

    def _record_wakeup(self, **_: Any) -> None:
        self._received_at = time.monotonic()

    def _run(self) -> None:
        while not self._stopping.wait(self._check_interval_s):
            if self._is_healthy():
                self._received_at = time.monotonic()
            elif time.monotonic() - self._received_at > self._stall_timeout_s:
                log.error("consumer.stalled", stage=self._stage, seconds=self._stall_timeout_s)
                os.kill(os.getpid(), signal.SIGTERM)
                # What stalls the consumer may also block its shutdown. After an exit the leases expire.
                if not self._stopped.wait(self._stop_timeout_s):
                    os._exit(1)
                return

    def _is_healthy(self) -> bool:
        if len(state.active_requests) >= self._threads:
            return True
        try:
            if not self._store.pending_wakeups(self._stage):
                return True
            # Receiving a wake-up removes it from its list, which Redis refuses while it cannot write.
            self._store.integrity.try_write()
        except ThinkqueueError:
            return True  # a Redis that is away delivers nothing
        return False
