"""Renews the leases of all jobs of a worker: one thread, one call to the job table every ``HEARTBEAT_S`` seconds.

The thread does no engine work, so a long prefill does not delay it. It stops renewing while the worker makes no
progress: a hung GPU loses its jobs to other workers.
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
    """The lease of one claimed job, as its worker sees it."""

    job_id: str
    claim: str
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when another claim owns the job or the job has ended: drop it, write nothing."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when the client asks to cancel the job."""


def host_prefix() -> str:
    """Return the prefix of the ids of all workers on this host or in this pod."""
    return f"{socket.gethostname()[:40]}:"


class Heartbeat:
    """Registers one worker in the job table and renews its leases. States: starting → ready → draining → gone."""

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
        """
        Args:
            slots: jobs that the worker runs at once; 0 while it loads a model.
            interval_s: between two heartbeats.
            is_progressing: False stops the renewal of leases.
            engine_load: read at each heartbeat.
        """
        # A restarted pod may have the same name and process id as its predecessor.
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

    def start(self) -> None:
        """Register the worker and start the thread."""
        self._beat()
        self._thread.start()

    def set_state(self, state: str, *, slots: int | None = None) -> None:
        """Change the worker's state, and its slots if they are given, and send both at once."""
        self.worker = replace(self.worker, state=state, slots=self.worker.slots if slots is None else slots)
        self._beat()

    def stop(self) -> None:
        """Remove the worker from the list of workers."""
        self._stopped.set()
        self._thread.join(timeout=5)
        self.set_state("gone")

    @contextmanager
    def lease(self, job: Job) -> Iterator[Lease]:
        """Keep the lease of a claimed job inside the block."""
        lease = Lease(job.id, job.claim)
        with self._lock:
            self._leases[job.id] = lease
        try:
            yield lease
        finally:
            with self._lock:
                if self._leases.get(job.id) is lease:  # this worker may have claimed a lost job again
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
        worker = replace(self.worker, free=free, engine_load=self._engine_load())
        try:
            signals = self._store.heartbeat(worker, {lease.job_id: lease.claim for lease in leases.values()})
        except ThinkqueueError as error:
            # Not a reason to stop: an expired lease can still be renewed until another worker claims the job.
            log.warning("heartbeat.failed", worker=self.worker.id, code=error.code)
            return
        for job_id, signal in signals.items():
            # `unknown` is not `lost`: the job table has lost its data, and the result object decides.
            if signal == "lost":
                leases[job_id].lost.set()
            elif signal == "cancel":
                leases[job_id].cancelled.set()
