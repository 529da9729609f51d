"""Finding jobs: a tenant's lists, and a job's place in its line."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from jobs.errors import Invalid, Problem
from jobs.model.job import Job, JobStatus
from jobs.table.scripts import LuaScripts, translate_redis_errors


@dataclass(frozen=True, slots=True)
class Page:
    jobs: list[Job]
    has_more: bool
    cursor: str
    """Id to go on behind; not always one of ``jobs``."""


class JobIndex:
    """Safe to share between threads; every method raises StoreUnavailable."""

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
    ) -> Page:
        """Newest first.

        Raises:
            Invalid: there is no job ``after`` (any more).
        """
        before = "+inf" if before_ms is None else str(before_ms)
        wanted = labels(metadata or {})
        reply = self._scripts.call("list", tenant, from_ms, before, after, limit, " ".join(statuses), *wanted)
        if reply[0] == "unknown":
            raise Invalid([Problem("query:after", "is no job of this list (any more); start without it")])
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in reply[3:]:
                pipe.hgetall(f"job:{job_id}")
            rows = cast("list[dict[str, str]]", pipe.execute())
        jobs = [Job.from_hash(job_id, row) for job_id, row in zip(reply[3:], rows, strict=True) if row]
        return Page(jobs, reply[1] == "1", reply[2])

    def position(self, job: Job) -> int | None:
        """How many jobs of its priority are served before it; None: it does not wait."""
        with translate_redis_errors():
            rank = self._redis.zrank(f"queue:{job.stage}:{job.priority}", job.id)
        return cast("int | None", rank)


def labels(metadata: Mapping[str, str]) -> list[str]:
    """Metadata pairs as index names: short, whatever stands in them."""
    return [hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:24] for name, value in sorted(metadata.items())]
