"""What the keeper needs of the job table: overdue rows, stalled workers, clock steps."""

from typing import Literal, cast

import redis

from jobs.model.job import MAX_LOST_LEASES, Job, Stage
from jobs.table import keys
from jobs.table.scripts import LuaScripts, translate_redis_errors
from jobs.table.store import JobStore

POSTPONE_MS = 15_000
STALLED_LEASES = 4
"""A worker without a heartbeat for this many leases leaves the list of workers."""


class MaintenanceStore:
    """Finds and moves overdue rows. Safe to share between threads, and several keepers. Raises as JobStore does."""

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._redis = client
        self._scripts = LuaScripts(client)
        self._store = JobStore(client, lease_s=lease_s)
        self._lease_ms = round(lease_s * 1000)

    def expired_leases(self, stage: Stage, *, limit: int = 100) -> list[Job]:
        """Return jobs whose lease, or seal, has expired."""
        return self._overdue_jobs(keys.leases(stage), limit)

    def missed_deadlines(self, *, limit: int = 100) -> list[Job]:
        """Return jobs that no generate worker has started by their deadline."""
        return self._overdue_jobs(keys.DEADLINES, limit)

    def requeue(self, job: Job) -> Literal["ok", "exhausted", "skipped"]:
        """Return a job whose lease expired to its queue.

        Args:
            job: as ``expired_leases`` returned it; its claim must not have changed.

        Returns:
            ``exhausted``: it has lost too many leases; end it. ``skipped``: its state has changed meanwhile.
        """
        reply = self._scripts.call("requeue", job.id, job.claim, MAX_LOST_LEASES)
        return cast("Literal['ok', 'exhausted', 'skipped']", reply[0])

    def unarchived(self, *, limit: int = 20) -> list[str]:
        """Return ended jobs whose events are not in the object store yet."""
        return self._scripts.call("expired", keys.UNARCHIVED, limit)[1:]

    def due_removals(self, *, limit: int = 20) -> list[str]:
        """Return ended jobs whose own retention is over."""
        return self._scripts.call("expired", keys.REMOVALS, limit)[1:]

    def forget_expired(self, *, tenants: int = 10, jobs: int = 100) -> None:
        """Remove jobs whose record has expired from their tenants' lists.

        Args:
            tenants: the largest number of tenants.
            jobs: the largest number of jobs of each.
        """
        self._scripts.call("forget_expired", tenants, jobs)

    def withdrawals(self, *, limit: int = 20) -> list[str]:
        """Return withdrawn jobs whose objects are not deleted yet."""
        return self._scripts.call("expired", keys.WITHDRAWALS, limit)[1:]

    def removed_jobs(self, *, limit: int = 20) -> list[str]:
        """Return jobs that were deleted or withdrawn so long ago that nobody writes their objects any more."""
        return self._scripts.call("expired", keys.REMOVED, limit)[1:]

    def forget_withdrawal(self, job_id: str) -> None:
        """Record that a withdrawn job's objects are deleted."""
        with translate_redis_errors():
            self._redis.zrem(keys.WITHDRAWALS, job_id)

    def forget_removed_job(self, job_id: str) -> None:
        """Record that the objects of a removed job which were written late are deleted."""
        with translate_redis_errors():
            self._redis.zrem(keys.REMOVED, job_id)

    def postpone(self, key: str, job_id: str) -> None:
        """Return a job from the reads above some seconds later: its work failed and must not delay the other jobs.

        Args:
            key: ``keys.leases(stage)``, ``DEADLINES``, ``UNARCHIVED``, ``REMOVALS``, ``WITHDRAWALS`` or ``REMOVED``.
        """
        self._scripts.call("postpone", key, job_id, POSTPONE_MS)

    def prune_stalled_workers(self) -> None:
        """Remove workers without a heartbeat for four leases from the list; their hashes expire."""
        with translate_redis_errors():
            seconds, _ = self._redis.time()
            self._redis.zremrangebyscore(keys.WORKERS, "-inf", seconds * 1000 - STALLED_LEASES * self._lease_ms)

    def adjust_for_clock_step(self, *, step_ms: int) -> int:
        """Move recorded times when Redis' clock was set back by more than ``step_ms``.

        Returns:
            The milliseconds by which it was set back; 0: it was not. Only one keeper receives them for each step.
        """
        reply = self._scripts.call("adjust_for_clock_step", self._lease_ms, step_ms)
        return int(reply[1]) if reply[0] == "back" else 0

    def _overdue_jobs(self, key: str, limit: int) -> list[Job]:
        """Return the overdue jobs of a sorted set. Members without a record leave it; damaged ones wait in it."""
        job_ids = self._scripts.call("expired", key, limit)[1:]
        jobs = self._store.get_many(job_ids)
        for job_id in (job_id for job_id, job in zip(job_ids, jobs, strict=True) if job is None):
            with translate_redis_errors():
                is_damaged = self._redis.exists(keys.job(job_id))
                if not is_damaged:
                    self._redis.zrem(key, job_id)
            if is_damaged:
                self.postpone(key, job_id)
        return [job for job in jobs if job is not None]
