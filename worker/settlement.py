"""How a worker parts with a job that it has claimed: it ends it, or hands it back."""

import threading
import time
from typing import Any

from jobs.errors import Cancelled, ClaimLost, ThinkqueueError
from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.job import Job, JobStatus
from jobs.model.result import JobResult
from jobs.table.store import JobStore
from runtime import metrics

RETRY_S = 1.0
"""Between tries while a server is away."""


class JobSettler:
    """Every error of the servers stays inside it: in the worst case the lease runs out, and the keeper sees to the job.

    Args:
        timeout_s: how long an end is tried.
    """

    def __init__(self, store: JobStore, finalizer: JobFinalizer, *, timeout_s: float = float("inf")) -> None:
        self._store = store
        self._finalizer = finalizer
        self._patience_s = timeout_s

    def settle(self, result: JobResult, lost: threading.Event, job_log: Any) -> bool:
        """The three steps, tried while the lease can be held. False: they were not done.

        Args:
            lost: set when another one has the job.
        """
        give_up = time.monotonic() + self._patience_s
        while not lost.is_set() and time.monotonic() < give_up:
            try:
                status = self._finalizer.finalize(result, expect="owner")
            except ClaimLost:
                job_log.warning("job.claim_lost", stage="end")
                return False
            except ThinkqueueError as error:
                job_log.warning("job.settle_delayed", code=error.code)
                lost.wait(RETRY_S)
            else:
                told = {"finish_reason": result.finish_reason, **result.usage} if result.finish_reason else {}
                job_log.info("job.ended", status=status, code=result.error_code, **told)
                return True
        return False

    def release(self, job: Job, lost: threading.Event, job_log: Any, *, reason: str, is_loss: bool = False) -> None:
        """Into its old place in the line; one that was cancelled meanwhile is ended, with what its journal has.

        Args:
            is_loss: the worker goes down, maybe because of the job.
        """
        try:
            self._store.release(job.id, job.claim, is_loss=is_loss)
        except Cancelled as wish:
            result = JobResult.without_output(job, JobStatus.CANCELLED, wish.code, wish.message, claim=job.claim)
            try:
                result = result.with_journal(self._store.events(job.id))
            except ThinkqueueError as error:
                job_log.warning("job.release_failed", reason=reason, code=error.code)
            else:
                self.settle(result, lost, job_log)
        except ThinkqueueError as error:
            job_log.warning("job.release_failed", reason=reason, code=error.code)
        else:
            metrics.JOBS_RELEASED.inc()
            job_log.info("job.released", reason=reason)
