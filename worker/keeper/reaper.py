"""What the keeper does for jobs that nobody else looks after.

Late leases, missed deadlines, missing bells; streams that go into the object store, jobs whose retention is over.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from jobs.errors import ClaimLost, NotInitialized, StoreUnavailable, Unavailable
from jobs.lifecycle.deletion import remove_job
from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.job import MAX_LOST_LEASES, Job, JobStatus, Stage
from jobs.objects.archive import EventArchive
from jobs.objects.store import ObjectStore
from jobs.table.maintenance import MaintenanceStore
from jobs.table.store import JobStore
from jobs.wakeup.notify import notify
from runtime.logs import job_logger

log = structlog.get_logger(__name__)

GRACE_LEASES = 2
"""After trouble with Redis: owners that could not renew their leases get the time to do so."""
MAX_CLOCK_STEP_S = 2.0
TELL_AGAIN_S = 10.0

LOST = (
    "worker_lost",
    f"The worker was lost {MAX_LOST_LEASES} times while it had this job; the job may be what kills it.",
)
EXPIRED = ("expired", "No worker started the job before its deadline.")
CANCELLED = ("cancelled", "The job was cancelled; the worker that had it was lost.")


class Reaper:
    """Two may run at once: each action is one script that checks what it changes."""

    def __init__(
        self, store: JobStore, maintenance: MaintenanceStore, object_store: ObjectStore, finalizer: JobFinalizer
    ) -> None:
        self._store = store
        self._maintenance = maintenance
        self._object_store = object_store
        self._finalizer = finalizer
        self._archive = EventArchive(store, object_store)
        self._grace_s = GRACE_LEASES * store.lease_s
        self._run_id = ""
        self._clock_skew_s = 0.0
        self._quiet_until = 0.0

    def run_maintenance(self) -> None:
        """What jobs wait for: late leases, deadlines, bells. Call it about twice a second.

        Raises:
            Unavailable, NotInitialized
        """
        try:
            self._notice_trouble()
            if time.monotonic() >= self._quiet_until:
                for stage in Stage:
                    for job in self._maintenance.expired_leases(stage):
                        _guarded(partial(self._take_back, job), job_logger(job))
                for job in self._maintenance.missed_deadlines():
                    _guarded(partial(self._expire, job), job_logger(job))
            for stage in Stage:
                notify(self._store, stage)
            self._maintenance.prune_stalled_workers()
        except (StoreUnavailable, NotInitialized) as error:
            self._be_quiet(error.code)
            raise

    def run_cleanup(self) -> None:
        """What can wait: streams of ended jobs, jobs whose retention is over. Raises Unavailable, NotInitialized."""
        for job_id in self._maintenance.unarchived():
            _guarded(partial(self._archive.move, job_id), log.bind(job_id=job_id))
        for job_id in self._maintenance.due_removals():
            _guarded(partial(self._remove, job_id), log.bind(job_id=job_id))

    def _remove(self, job_id: str) -> None:
        remove_job(self._store, self._object_store, job_id)
        log.info("job.removed", job_id=job_id)

    def _notice_trouble(self) -> None:
        run_id, seconds = self._store.integrity.server_clock()
        skew = seconds - time.monotonic()
        # A keeper that starts asks the others' mark; see recovery.py.
        before = self._run_id or self._store.integrity.reconciled()
        if before not in (None, run_id):
            self._be_quiet("store_restarted")
        elif self._run_id and abs(skew - self._clock_skew_s) > MAX_CLOCK_STEP_S:
            self._be_quiet("clock_moved")
        if back_ms := self._maintenance.adjust_for_clock_step(step_ms=int(MAX_CLOCK_STEP_S * 1000)):
            log.warning("store.clock_stepped_back", seconds=back_ms / 1000)
            self._be_quiet("clock_moved")
        self._run_id, self._clock_skew_s = run_id, skew

    def _be_quiet(self, reason: str) -> None:
        now = time.monotonic()
        if now >= self._quiet_until - self._grace_s + TELL_AGAIN_S:
            log.warning("keeper.paused", reason=reason, seconds=self._grace_s)
        self._quiet_until = now + self._grace_s

    def _take_back(self, job: Job) -> None:
        job_log = job_logger(job)
        # Its owner may have died behind the second step of an end: then the object is the truth.
        if status := self._finalizer.finalize_from_result(job.id):
            job_log.info("job.finalized_from_result", status=status)
        elif job.cancel_requested or job.sealed == JobStatus.CANCELLED:
            self._end(job, JobStatus.CANCELLED, CANCELLED)
        elif job.sealed and job.sealed != JobStatus.COMPLETED:
            # Its end needs no output, so it is written anew instead of run anew.
            self._end(job, JobStatus(job.sealed), (job.error_code or job.sealed, "The job ended; details were lost."))
        elif (outcome := self._maintenance.requeue(job)) == "exhausted":
            self._end(job, JobStatus.FAILED, LOST)
        elif outcome == "ok":
            job_log.warning("job.requeued", stage=job.stage, lost_leases=job.lost_leases)

    def _expire(self, job: Job) -> None:
        if not job.claim:  # being prepared: looked at again when that is done
            self._end(job, JobStatus.EXPIRED, EXPIRED)

    def _end(self, job: Job, status: JobStatus, error: tuple[str, str]) -> None:
        ended = self._finalizer.finalize_orphan(job, status, *error, expect="expired" if job.claim else "unclaimed")
        job_logger(job).info("job.ended", status=ended, code=error[0])


def _guarded(act: Callable[[], None], job_log: Any) -> None:
    """One job's trouble must not hold the others up."""
    try:
        act()
    except ClaimLost:
        return  # its owner, or the other keeper, was faster
    except (Unavailable, NotInitialized):
        raise
    except Exception:  # noqa: BLE001 - see above
        job_log.exception("job.maintenance_crashed")
