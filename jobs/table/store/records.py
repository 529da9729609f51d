"""Reads the records and the events of jobs."""

from collections.abc import Mapping, Sequence
from typing import cast

import structlog

from jobs.model.events import Event
from jobs.model.job import Job
from jobs.table import keys
from jobs.table.scripts import translate_redis_errors
from jobs.table.store.client import TableClient

log = structlog.get_logger(__name__)


class RecordReader(TableClient):
    """Reads what the job table has of a job."""

    def get(self, job_id: str) -> Job | None:
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """Read records in one round trip; None for those that do not exist, or are damaged, which is logged."""
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hgetall(keys.job(job_id))
            rows = cast("list[dict[str, str]]", pipe.execute())
        return [_parse(job_id, row) if row else None for job_id, row in zip(job_ids, rows, strict=True)]

    def events(self, job_id: str, *, after: int = 0) -> list[Event]:
        """Read a job's events with a sequence number above ``after``; at most what fits into one context window."""
        with translate_redis_errors():
            entries = self._redis.xrange(keys.stream(job_id), min=f"({after}-0")
        rows = cast("list[tuple[str, dict[str, str]]]", entries)
        return [Event.from_entry(entry_id, fields) for entry_id, fields in rows]

    def is_removed(self, job_id: str) -> bool:
        """Whether the job was deleted or withdrawn within ``LATE_WRITER_MS``."""
        with translate_redis_errors():
            return self._redis.zscore(keys.REMOVED, job_id) is not None

    def has_forgotten_jobs(self, tenant: str) -> bool:
        """Whether ended jobs of a tenant have left Redis before their retention ended."""
        with translate_redis_errors():
            return bool(self._redis.hexists(keys.tenant(tenant), "forgotten"))


def _parse(job_id: str, row: Mapping[str, str]) -> Job | None:
    """Return a record; None if it is damaged: it must not stop the work on the others that are read with it."""
    try:
        return Job.from_hash(job_id, row)
    except (KeyError, ValueError) as error:
        log.error("job.record_damaged", job_id=job_id, detail=repr(error))
        return None
