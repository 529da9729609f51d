"""A worker's heartbeat: one thread, one call every ``HEARTBEAT_S`` seconds, that renews the leases of all its jobs.

It does no engine work, so a long prefill does not stop it; and it stops by itself when the worker makes no
progress, so that a hung GPU loses its jobs to others.
"""

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import structlog

from jobs.errors import ThinkqueueError
from jobs.model.job import Job
from jobs.table.store import JobStore
from jobs.table.types import EngineLoad, WorkerStatus

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Lease:
    """One claimed job, as its worker sees it."""

    job_id: str
    claim: str
    lost: threading.Event = field(default_factory=threading.Event)
    """Another owner has it, or it has ended: drop it, write nothing."""
    cancelled: threading.Event = field(default_factory=threading.Event)


def host_prefix() -> str:
    """Of the ids of all workers on this host, or in this pod."""
    return f"{socket.gethostname()[:40]}:"


class Heartbeat:
    def __init__(
        self,
        store: JobStore,
        *,
        stage: str,
        slots: int,
        interval_s: float,
        is_progressing: Callable[[], bool] = lambda: True,
        engine_load: Callable[[], EngineLoad] = EngineLoad,
    ) -> None:
        # A restarted pod may have the same name and pid as the one before it.
        name = f"{host_prefix()}{os.getpid()}:{secrets.token_hex(3)}"
        self.worker = WorkerStatus(id=name, stage=stage, state="starting", slots=slots, free=slots)
        self._store = store
        self._interval_s = interval_s
        self._is_progressing = is_progressing
        self._engine_load = engine_load
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def is_beating(self) -> bool:
        """False: the worker makes no progress, and its leases run out."""
        return self._is_progressing()

    def start(self) -> None:
        self._thread.start()

    def set_state(self, state: str) -> None:
        """Say at once that the worker is ``ready``, or ``draining``."""
        self.worker = replace(self.worker, state=state)
        self._beat()

    def stop(self) -> None:
        """Leave the list of workers."""
        self._stopped.set()
        self._thread.join(timeout=5)
        self.set_state("gone")

    @contextmanager
    def lease(self, job: Job) -> Iterator[Lease]:
        """Keep a claimed job's lease alive inside the block."""
        lease = Lease(job.id, job.claim)
        with self._lock:
            self._leases[job.id] = lease
        try:
            yield lease
        finally:
            with self._lock:
                if self._leases.get(job.id) is lease:  # a lost job may have come back here under a new claim
                    del self._leases[job.id]

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            if self._is_progressing():
                self._beat()
            else:
                log.error("worker.stalled", worker=self.worker.id, jobs=len(self._leases))

    def _beat(self) -> None:
        with self._lock:
            leases = dict(self._leases)
        free = max(0, self.worker.slots - len(leases))
        present = replace(self.worker, free=free, engine_load=self._engine_load())
        try:
            signals = self._store.heartbeat(present, {lease.job_id: lease.claim for lease in leases.values()})
        except ThinkqueueError as error:
            # Not a reason to stop: an expired lease that nobody took can still be renewed.
            log.warning("heartbeat.failed", worker=self.worker.id, code=error.code)
            return
        for job_id, signal in signals.items():
            # `unknown` is not `lost`: the store has lost its memory, and the result object will decide.
            if signal == "lost":
                leases[job_id].lost.set()
            elif signal == "cancel":
                leases[job_id].cancelled.set()
