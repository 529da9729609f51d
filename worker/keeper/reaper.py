"""Maintains the job table: expired leases, missed deadlines, missing wake-ups, archiving and deletion."""

import time
from collections.abc import Callable
from functools import partial

import structlog

from jobs.errors import ClaimLost, NotInitialized, ObjectUnavailable, StoreUnavailable, Unavailable
from jobs.lifecycle.end.archive import EventArchive
from jobs.lifecycle.end.deletion import delete_job, delete_late_objects, delete_withdrawn_job
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.job import MAX_LOST_LEASES, Job, JobStatus, Stage
from jobs.objects.store import ObjectStore
from jobs.table import keys
from jobs.table.maintenance import MaintenanceStore
from jobs.table.store import JobStore
from jobs.wakeup.notify import notify
from runtime.telemetry.logs import job_logger

log = structlog.get_logger(__name__)

GRACE_LEASES = 2
"""How many leases the reaper pauses after a failure of Redis: workers that could not renew their leases catch up."""
MAX_CLOCK_STEP_S = 2.0
LOG_INTERVAL_S = 10.0
"""Minimum interval between repeats of the same warning."""

WORKER_LOST = (
    "worker_lost",
    f"The job's lease expired {MAX_LOST_LEASES} times because its worker crashed or hung; the job itself may be the "
    "cause. Check its inputs before you submit it again.",
)
EXPIRED = ("expired", "No worker started the job before its deadline; submit it again, or with a later deadline.")
DAMAGED = ("internal_error", "The job's record in Redis is damaged; submit the job again.")
CANCELLED = ("cancelled", "The job was cancelled; its worker was lost before it stopped the job.")


class Reaper:
    """Runs the maintenance and the cleanup. Two reapers may run at once: each script checks what it changes."""

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
        self._clock_offset_s = 0.0
        self._paused_until = 0.0

    def run_maintenance(self) -> None:
        """Requeue jobs with an expired lease, end overdue jobs, send missing wake-ups, prune stalled workers.

        Call it about twice a second.

        Raises:
            Unavailable, NotInitialized
        """
        try:
            self._pause_after_restart_or_clock_step()
            if time.monotonic() >= self._paused_until:
                for stage in Stage:
                    for job in self._maintenance.expired_leases(stage):
                        self._isolate_errors(partial(self._reclaim, job), keys.leases(stage), job.id)
                for job in self._maintenance.missed_deadlines():
                    self._isolate_errors(partial(self._expire, job), keys.DEADLINES, job.id)
            for stage in Stage:
                notify(self._store, stage)
            self._maintenance.prune_stalled_workers()
        except (StoreUnavailable, NotInitialized) as error:
            self._pause(error.code)
            raise

    def run_cleanup(self) -> None:
        """Move the event streams of ended jobs to the object store, delete jobs after their retention, and delete what
        belongs to jobs that were withdrawn or was written after a job was deleted.

        Raises:
            Unavailable, NotInitialized
        """
        self._maintenance.forget_expired()
        for job_id in self._maintenance.unarchived():
            self._isolate_errors(partial(self._archive.archive, job_id), keys.UNARCHIVED, job_id)
        for job_id in self._maintenance.due_removals():
            self._isolate_errors(partial(self._delete, job_id), keys.REMOVALS, job_id)
        for job_id in self._maintenance.withdrawals():
            self._isolate_errors(partial(self._delete_withdrawn, job_id), keys.WITHDRAWALS, job_id)
        for job_id in self._maintenance.removed_jobs():
            self._isolate_errors(partial(self._delete_late_objects, job_id), keys.REMOVED, job_id)

    def _delete_withdrawn(self, job_id: str) -> None:
        delete_withdrawn_job(self._object_store, job_id)
        self._maintenance.forget_withdrawal(job_id)

    def _delete_late_objects(self, job_id: str) -> None:
        delete_late_objects(self._object_store, job_id)
        self._maintenance.forget_removed_job(job_id)

    def _delete(self, job_id: str) -> None:
        delete_job(self._store, self._object_store, job_id)
        log.info("job.removed", job_id=job_id)

    def _pause_after_restart_or_clock_step(self) -> None:
        run_id, server_s = self._store.integrity.server_clock()
        offset_s = server_s - time.monotonic()
        # A keeper that has just started compares with the run id that the last reconciliation stored (reconcile.py).
        known_run_id = self._run_id or self._store.integrity.reconciled()
        if known_run_id not in (None, run_id):
            self._pause("store_restarted")
        elif self._run_id and abs(offset_s - self._clock_offset_s) > MAX_CLOCK_STEP_S:
            self._pause("clock_moved")
        if back_ms := self._maintenance.adjust_for_clock_step(step_ms=int(MAX_CLOCK_STEP_S * 1000)):
            log.warning("store.clock_stepped_back", seconds=back_ms / 1000)
            self._pause("clock_moved")
        self._run_id, self._clock_offset_s = run_id, offset_s

    def _pause(self, reason: str) -> None:
        """Leave leases and deadlines alone for the grace period."""
        now = time.monotonic()
        if now >= self._paused_until - self._grace_s + LOG_INTERVAL_S:
            log.warning("keeper.paused", reason=reason, seconds=self._grace_s)
        self._paused_until = now + self._grace_s

    def _reclaim(self, job: Job) -> None:
        """Requeue or end a job whose lease has expired."""
        job_log = job_logger(job)
        # Its worker may have died after it stored the result: then the job ends as the result says.
        if status := self._finalizer.finalize_from_result(job.id):
            job_log.info("job.finalized_from_result", status=status)
        elif job.cancel_requested or job.sealed == JobStatus.CANCELLED:
            self._finalize(job, JobStatus.CANCELLED, CANCELLED)
        elif job.sealed and job.sealed != JobStatus.COMPLETED:
            # This end has no output, so its result is written again and the job is not run again.
            error_code = job.error_code or job.sealed
            self._finalize(job, JobStatus(job.sealed), (error_code, "The job ended; the details were lost."))
        elif (outcome := self._maintenance.requeue(job)) == "exhausted":
            self._finalize(job, JobStatus.FAILED, WORKER_LOST)
        elif outcome == "ok":
            job_log.warning("job.requeued", stage=job.stage, lost_leases=job.lost_leases)

    def _expire(self, job: Job) -> None:
        if job.claim:
            return  # it is being prepared; it is checked again when that is done
        if job.deadline_ms:
            self._finalize(job, JobStatus.EXPIRED, EXPIRED)
        else:  # lua/execution/claim.lua found that its record is damaged
            self._finalize(job, JobStatus.FAILED, DAMAGED)

    def _finalize(self, job: Job, status: JobStatus, error: tuple[str, str]) -> None:
        ended = self._finalizer.finalize_orphan(job, status, *error, expect="expired" if job.claim else "unclaimed")
        job_logger(job).info("job.ended", status=ended, code=error[0])

    def _isolate_errors(self, action: Callable[[], None], key: str, job_id: str) -> None:
        """Run an action for one job; its errors must not delay the other jobs.

        The job is tried again some seconds later, behind the others. An unavailable server stops the run.

        Args:
            key: the sorted set that the job is from.
        """
        job_log = log.bind(job_id=job_id)
        try:
            action()
        except ClaimLost:
            return  # its worker, or another keeper, was faster
        except (Unavailable, NotInitialized) as error:
            if not isinstance(error, StoreUnavailable):
                self._maintenance.postpone(key, job_id)
            if not isinstance(error, ObjectUnavailable):
                raise
            job_log.warning("job.maintenance_failed", detail=error.message)
        except Exception:  # noqa: BLE001 - see the docstring
            self._maintenance.postpone(key, job_id)
            job_log.exception("job.maintenance_crashed")
