"""One child process of the prepare worker."""

import structlog

from jobs.errors import ThinkqueueError
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings
from worker.heartbeat import host_prefix
from worker.prepare.pipe_event import PipeEvent
from worker.prepare.scratch import sweep
from worker.prepare.worker import SETTLE_TIMEOUT_S, WAKEUP_LIMIT_S, PrepareWorker

log = structlog.get_logger(__name__)

KILL_MARGIN_S = 60.0
"""Added to a job's own limits, which apply first; then Celery kills the child."""


class PrepareChild:
    """Created before the fork; each child calls ``start`` and has a worker from then on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: PrepareWorker | None = None
        self.draining = PipeEvent()
        """Set by the parent process at SIGTERM; all children see it."""

    @property
    def time_limit_s(self) -> float:
        """How long a child may take for one wake-up."""
        return WAKEUP_LIMIT_S + self._settings.prepare_timeout_s + SETTLE_TIMEOUT_S + KILL_MARGIN_S

    def start(self) -> None:
        """Open clients and start the worker. Celery calls it after each fork, in the child's main thread."""
        # A child also starts in place of one that was killed, which leaves its files.
        if swept := sweep():
            log.info("scratch.swept", folders=swept)
        # After the fork: a connection shared by two processes would mix their replies.
        store = JobStore(connect(self._settings), lease_s=self._settings.lease_s)
        self._worker = PrepareWorker(store, ObjectStore(self._settings), self._settings)
        self._worker.start(wait_for_drain=self.draining.wait)

    def claim_available(self) -> None:
        """Handle a wake-up. Raises Unavailable, NotInitialized."""
        assert self._worker is not None
        self._worker.claim_available()

    def stop(self) -> None:
        if self._worker:
            self._worker.stop()


def has_ready_child(store: JobStore) -> bool:
    """Return whether a prepare worker on this host is ready, as the job table says: children are other processes."""
    try:
        return any(worker.id.startswith(host_prefix()) and worker.state == "ready" for worker in store.workers())
    except ThinkqueueError:
        return False
