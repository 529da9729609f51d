"""Finish a claimed job, or release it to its queue."""

import threading
import time
from typing import Any

from jobs.errors import Cancelled, ClaimLost, ObjectUnavailable, ThinkqueueError
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus
from jobs.table.store import JobStore
from jobs.table.types import Release, ReleaseCause
from runtime.telemetry import metrics

RETRY_S = 1.0
"""Wait between attempts while a server is away."""
SETTLE_TIMEOUT_S = 3600.0
"""A worker keeps a finished job this long while the servers are away; then the lease expires and the job runs again."""
OBJECT_TIMEOUT_S = 120.0
"""The same while the object store answers, but not for this job's objects: the job must not hold its slot for long."""


class JobSettler:
    """Finishes or releases the claimed jobs of a worker.

    Raises no error of a server: in the worst case the lease expires and the keeper takes care of the job.
    """

    def __init__(
        self,
        store: JobStore,
        finalizer: JobFinalizer,
        *,
        timeout_s: float = SETTLE_TIMEOUT_S,
        object_timeout_s: float = OBJECT_TIMEOUT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """
        Args:
            timeout_s: how long ``settle`` retries while a server is away.
            object_timeout_s: how long it retries while the object store answers, but not for this job's objects.
            retry_s: wait between two attempts.
        """
        self._store = store
        self._finalizer = finalizer
        self._timeout_s = timeout_s
        self._object_timeout_s = object_timeout_s
        self._retry_s = retry_s

    def settle(self, result: JobResult, lost: threading.Event, job_log: Any) -> bool:
        """Seal the job, store its result and finish its record; retry while the lease is held.

        Args:
            lost: set when another claim owns the job.

        Returns:
            False if the job was not finished here.
        """
        began = time.monotonic()
        give_up_at = began + self._timeout_s
        while not lost.is_set() and time.monotonic() < give_up_at:
            try:
                status = self._finalizer.finalize(result, expect="owner")
            except ClaimLost:
                job_log.warning("job.claim_lost", stage="end")
                return False
            except ThinkqueueError as error:
                job_log.warning("job.settle_delayed", code=error.code)
                if isinstance(error, ObjectUnavailable):
                    give_up_at = min(give_up_at, began + self._object_timeout_s)
                lost.wait(self._retry_s)
            else:
                details = {"finish_reason": result.finish_reason, **result.usage} if result.finish_reason else {}
                job_log.info("job.ended", status=status, code=result.error_code, **details)
                return True
        return False

    def release(
        self, job: Job, lost: threading.Event, job_log: Any, *, reason: str, cause: ReleaseCause = "stop"
    ) -> Release | None:
        """Return the job to its place in the queue.

        A job that was cancelled in the meantime ends as cancelled, with the output that its journal holds.

        Returns:
            What became of the job; None: it was cancelled, or the job table does not answer.
        """
        try:
            release = self._store.release(job.id, job.claim, cause=cause)
        except Cancelled as request:
            result = JobResult.without_output(job, JobStatus.CANCELLED, request.code, request.message, claim=job.claim)
            try:
                result = result.with_journal(self._store.events(job.id))
            except ThinkqueueError as error:
                job_log.warning("job.release_failed", reason=reason, code=error.code)
            else:
                self.settle(result, lost, job_log)
        except ThinkqueueError as error:
            job_log.warning("job.release_failed", reason=reason, code=error.code)
        else:
            if not release.is_exhausted:
                metrics.JOBS_RELEASED.inc()
                job_log.info("job.released", reason=reason)
            return release
        return None
