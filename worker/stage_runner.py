"""Runs the claimed jobs of one stage: claim, hold the lease, do the stage's work, settle or release.

The prepare stage and the generate stage differ only in their work, and in how many jobs a process runs at once.
"""

import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from jobs.errors import Cancelled, ClaimLost, JobFailed, NotInitialized, ObjectUnavailable, ThinkqueueError, Unavailable
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus, Stage, new_claim
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob, ReleaseCause
from runtime.telemetry.logs import job_logger
from worker.heartbeat import Heartbeat, Lease
from worker.settlement import SETTLE_TIMEOUT_S, JobSettler

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 15.0
MIN_FAILED_JOBS = 3
"""Jobs that must fail in a row, while no job passes the stage, before a worker pauses."""
STORAGE_ERROR = (
    "storage_error",
    "A server answered with errors for this job's data, several times, while other jobs succeeded. Submit the job "
    "again; send a file that it refers to again, too.",
)

Work = Callable[[ClaimedJob, Lease, Any], JobResult | None]
"""What a stage does with one claimed job, given its lease and its logger.

Returns the result to settle, or None when the job has moved to the next stage. May raise JobReleased, ClaimLost,
Cancelled, JobFailed, Unavailable and NotInitialized; anything else counts as a crash and fails the job.
"""


class JobReleased(BaseException):
    """Raised by a stage's work to return the job to its queue.

    Not an ``Exception``: the prepare stage raises it from a signal handler, at any point of the work, and no
    ``except Exception`` may mistake it for an error.
    """

    def __init__(self, reason: str, *, is_loss: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_loss = is_loss
        """The worker dies, and the job may be the cause."""


class Drain:
    """Whether a worker shuts down, and until when its jobs may still run."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._ends_at = float("inf")
        """On the monotonic clock."""

    def begin(self, *, grace_s: float) -> None:
        """Claim no more jobs; release those that still run after ``grace_s`` seconds. A later end is ignored."""
        self._ends_at = min(self._ends_at, time.monotonic() + grace_s)
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    @property
    def is_over(self) -> bool:
        """Jobs that still run must be released now."""
        return time.monotonic() >= self._ends_at

    @property
    def remaining_s(self) -> float:
        """Seconds until the drain is over; infinite before it begins."""
        return max(0.0, self._ends_at - time.monotonic())

    def wait(self, timeout_s: float) -> None:
        """Block until the drain begins, at most ``timeout_s`` seconds."""
        self._begun.wait(timeout_s)


class Backoff:
    """The pause before the next claim while a server does not answer.

    It begins when several jobs in a row have failed: the server may answer with errors for one job's objects only. It
    doubles with each further failure, so that jobs are not claimed and released in quick succession.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: returns seconds.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._pause_s = FIRST_PAUSE_S
        self._ends_at = 0.0

    def record_failure(self, job_id: str) -> None:
        """Record that a server did not answer while a worker had this job."""
        with self._lock:
            if len(self._failed) < MIN_FAILED_JOBS:
                self._failed.add(job_id)
            if len(self._failed) >= MIN_FAILED_JOBS:
                self._ends_at = self._clock() + self._pause_s
                self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    def reset(self) -> None:
        """Record that the servers answer."""
        with self._lock:
            self._failed.clear()
            self._pause_s = FIRST_PAUSE_S

    @property
    def remaining_s(self) -> float:
        return max(0.0, self._ends_at - self._clock())


class StageRunner:
    """Claims and runs the jobs of one stage. Safe to call from several threads, one job each."""

    def __init__(
        self,
        store: JobStore,
        finalizer: JobFinalizer,
        heartbeat: Heartbeat,
        work: Work,
        *,
        stage: Stage,
        settle_timeout_s: float = SETTLE_TIMEOUT_S,
    ) -> None:
        """
        Args:
            settle_timeout_s: how long to retry the end of a job while a server is away.
        """
        self.drain = Drain()
        self.backoff = Backoff()
        self._unanswered = ""
        """Id of the last claim while its reply is missing."""
        self._store = store
        self._heartbeat = heartbeat
        self._work = work
        self._stage = stage
        self._settler = JobSettler(store, finalizer, timeout_s=settle_timeout_s)

    def claim(
        self, *, free_tokens: int = 0, served_tenants: Collection[str] = (), has_free_slot: bool = False
    ) -> ClaimedJob | None:
        """Claim the next job of the stage. Call it from one thread at a time.

        Args:
            free_tokens: tokens that fit into the worker's KV cache; the generate stage claims only what fits.
            served_tenants: tenants whose jobs are not claimed, because this worker has no slot for them.
            has_free_slot: this worker has a slot for other tenants. False: with ``served_tenants``, nothing is claimed
                while another worker has a free slot.

        Returns:
            None when no job waits, or when none fits.

        Raises:
            Unavailable, NotInitialized
        """
        repeated, self._unanswered = self._unanswered, self._unanswered or new_claim()
        claim = partial(
            self._store.claim,
            self._stage,
            worker=self._heartbeat.worker.id,
            free_tokens=free_tokens,
            served_tenants=served_tenants,
            has_free_slot=has_free_slot,
        )
        claimed = claim(claim=self._unanswered)
        if claimed is None and repeated:
            # The job table had given no job to the claim whose reply was lost.
            self._unanswered = new_claim()
            claimed = claim(claim=self._unanswered)
        self._unanswered = ""
        return claimed

    def run(self, claimed: ClaimedJob) -> None:
        """Work on one claimed job until it ends, moves to the next stage or is released. Raises nothing."""
        job, job_log = claimed.job, job_logger(claimed.job)
        with self._heartbeat.lease(job) as lease:
            try:
                self._confirm(job, job_log)
                result = self._work(claimed, lease, job_log)
            except JobReleased as release:
                cause: ReleaseCause = "loss" if release.is_loss else "stop"
                self._settler.release(job, lease.lost, job_log, reason=release.reason, cause=cause)
                return
            except ClaimLost:
                job_log.warning("job.claim_lost", stage=self._stage)
                return
            except (Unavailable, NotInitialized) as error:
                if not self._release_after_error(job, lease, job_log, error):
                    return
                result = _ended(job, JobStatus.FAILED, *STORAGE_ERROR)
            except JobFailed as failure:
                result = _ended(job, JobStatus.FAILED, failure.failure_code, failure.message)
            except Cancelled as request:
                result = _ended(job, JobStatus.CANCELLED, request.code, request.message)
            except Exception as error:  # noqa: BLE001 - the crash of one job must not end the others
                job_log.exception("job.crashed", stage=self._stage)
                message = f"The {self._stage} stage crashed: {type(error).__name__}."
                result = _ended(job, JobStatus.FAILED, "internal_error", message)
            if result is None or self._settler.settle(result, lease.lost, job_log):
                self.backoff.reset()

    def _confirm(self, job: Job, job_log: Any) -> None:
        """Record that this worker has the job. Raises ClaimLost."""
        try:
            signal = self._store.confirm_claim(job.id, job.claim)
        except (Unavailable, NotInitialized) as error:
            job_log.warning("job.confirm_failed", code=error.code)  # the next heartbeat confirms it
        else:
            if signal == "lost":
                raise ClaimLost

    def _release_after_error(self, job: Job, lease: Lease, job_log: Any, error: ThinkqueueError) -> bool:
        """Release a job because a server did not answer. Return True if the job must end instead."""
        cause: ReleaseCause = "object" if isinstance(error, ObjectUnavailable) else "error"
        release = self._settler.release(job, lease.lost, job_log, reason=error.code, cause=cause)
        if release is None or not release.others_pass:
            self.backoff.record_failure(job.id)
        return release is not None and release.is_exhausted


def _ended(job: Job, status: JobStatus, code: str, message: str) -> JobResult:
    return JobResult.without_output(job, status, code, message, claim=job.claim)
