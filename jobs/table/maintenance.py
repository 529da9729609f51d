"""What the keeper asks of the job table: rows that are overdue, and a table whose clock was set."""

from typing import Literal, cast

import redis

from jobs.model.job import MAX_LOST_LEASES, Job, Stage
from jobs.table.scripts import LuaScripts, translate_redis_errors
from jobs.table.store import JobStore

STALLED_LEASES = 4
"""A worker without a heartbeat for this many leases leaves the list of workers."""


class MaintenanceStore:
    """Safe to share between threads, and for several keepers at once. Raises as JobStore does."""

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._redis = client
        self._scripts = LuaScripts(client)
        self._store = JobStore(client, lease_s=lease_s)
        self._lease_ms = round(lease_s * 1000)

    def expired_leases(self, stage: Stage, *, limit: int = 100) -> list[Job]:
        return self._late(f"leases:{stage}", limit)

    def missed_deadlines(self, *, limit: int = 100) -> list[Job]:
        return self._late("deadlines", limit)

    def requeue(self, job: Job) -> Literal["ok", "exhausted", "skipped"]:
        """Take a job from the late owner that ``job`` shows."""
        reply = self._scripts.call("requeue", job.id, job.claim, MAX_LOST_LEASES)
        return cast("Literal['ok', 'exhausted', 'skipped']", reply[0])

    def unarchived(self, *, limit: int = 20) -> list[str]:
        """Ended jobs whose stream is to be moved into the object store."""
        return self._scripts.call("expired", "archive", limit)[1:]

    def due_removals(self, *, limit: int = 20) -> list[str]:
        """Ended jobs whose own retention is over."""
        return self._scripts.call("expired", "removals", limit)[1:]

    def prune_stalled_workers(self) -> None:
        """Drop workers that have not beaten for four leases; their hashes expire by themselves."""
        with translate_redis_errors():
            seconds, _ = self._redis.time()
            self._redis.zremrangebyscore("workers", "-inf", seconds * 1000 - STALLED_LEASES * self._lease_ms)

    def adjust_for_clock_step(self, *, step_ms: int) -> int:
        """Move what waits with a clock of Redis' that was set back by more than ``step_ms``; returns by how much.

        One keeper hears of a step; 0: there was none.
        """
        reply = self._scripts.call("clock", self._lease_ms, step_ms)
        return int(reply[1]) if reply[0] == "back" else 0

    def _late(self, key: str, limit: int) -> list[Job]:
        jobs = []
        for job_id in self._scripts.call("expired", key, limit)[1:]:
            if job := self._store.get(job_id):
                jobs.append(job)
            else:
                with translate_redis_errors():
                    self._redis.zrem(key, job_id)
        return jobs
