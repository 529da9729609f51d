"""Lists of a tenant's jobs, and a job's position in its queue."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from jobs.errors import Invalid, Problem
from jobs.model.job import Job, JobStatus
from jobs.table import keys
from jobs.table.scripts import LuaScripts, translate_redis_errors


@dataclass(frozen=True, slots=True)
class JobPage:
    jobs: list[Job]
    has_more: bool
    cursor: str
    """Id after which the next page starts; not always one of ``jobs``."""


class JobIndex:
    """Lists jobs and finds positions. Safe to share between threads; every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._scripts = LuaScripts(client)

    def page(
        self,
        tenant: str,
        *,
        statuses: Sequence[JobStatus] = (),
        metadata: Mapping[str, str] | None = None,
        from_ms: int = 0,
        before_ms: int | None = None,
        after: str = "",
        limit: int = 20,
    ) -> JobPage:
        """Return one page of a tenant's jobs, newest first.

        Args:
            statuses: wanted statuses; empty: all.
            metadata: pairs that a job must have.
            from_ms: earliest creation time.
            before_ms: creation times before this one only.
            after: id after which the page starts, the ``cursor`` of the previous page; empty: the newest job.

        Raises:
            Invalid: ``after`` is not in the list.
        """
        before = "+inf" if before_ms is None else str(before_ms)
        wanted = labels(metadata or {})
        reply = self._scripts.call("list", tenant, from_ms, before, after, limit, " ".join(statuses), *wanted)
        if reply[0] == "unknown":
            raise Invalid([Problem("query:after", "is not a job of this list, or was deleted; start without it")])
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in reply[3:]:
                pipe.hgetall(keys.job(job_id))
            rows = cast("list[dict[str, str]]", pipe.execute())
        jobs = [Job.from_hash(job_id, row) for job_id, row in zip(reply[3:], rows, strict=True) if row]
        return JobPage(jobs, reply[1] == "1", reply[2])

    def position(self, job: Job) -> int | None:
        """Estimate how many jobs of the same priority start before a job; None: it does not wait."""
        found = self._scripts.call("positions", job.id)[1]
        return int(found) if found else None


def labels(metadata: Mapping[str, str]) -> list[str]:
    """Hash metadata pairs into names of lists: short, whatever the pairs contain."""
    return [hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:24] for name, value in sorted(metadata.items())]
