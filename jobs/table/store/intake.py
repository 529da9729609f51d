"""Creates and removes the records of jobs."""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from jobs.errors import JobWithdrawn
from jobs.model.job import RECORD_VERSION, Job, JobStatus, Stage
from jobs.table.store.client import TableClient
from jobs.table.types import AcceptResult

INDEX_MS = 40 * 24 * 3600 * 1000
"""How long a tenant's lists are kept after the last job was added, unless the retention is longer."""
MAX_ENDED_JOBS = 20_000
"""Default of the setting with this name."""
LATE_WRITER_MS = 15 * 60 * 1000
"""A process that was frozen may write objects of a deleted job this long afterwards: no presigned PUT lives longer than
ten minutes, and an S3 server refuses other requests that were signed more than 15 minutes ago."""


class RecordWriter(TableClient):
    """Creates records, from a request or from a job's objects, and removes them."""

    def accept(
        self,
        job_id: str,
        *,
        tenant: str,
        priority: str,
        expires_ms: int,
        events: Sequence[str],
        copies: int = 0,
        retention_ms: int = 0,
        index_ms: int = INDEX_MS,
        max_ended: int = MAX_ENDED_JOBS,
        labels: Sequence[str] = (),
    ) -> AcceptResult:
        """Create a job's record unless it exists, and queue the job.

        Args:
            expires_ms: from now to its deadline.
            events: statuses that its callback asks for.
            copies: number of result copies to upload.
            retention_ms: its own retention; 0: the service's.
            index_ms: how long the tenant's lists are kept after the last job was added.
            max_ended: ended jobs of the tenant that Redis keeps; the oldest ones leave it.
            labels: see ``listing.labels``.

        Raises:
            JobWithdrawn: the job was withdrawn or deleted meanwhile.
        """
        limits = (expires_ms, " ".join(events), copies, retention_ms, index_ms, self._lease_ms, max_ended)
        reply = self._scripts.call("accept", job_id, tenant, priority, RECORD_VERSION, *limits, *labels)
        if reply[0] == "removed":
            raise JobWithdrawn
        is_new = reply[0] == "ok"
        if is_new:
            fields = {"tenant": tenant, "priority": priority, "status": JobStatus.PREPARING, "stage": Stage.PREPARE}
            fields |= {"created_ms": reply[3], "deadline_ms": reply[4], "retention_ms": str(retention_ms)}
        else:
            fields = dict(zip(reply[3::2], reply[4::2], strict=True))
        job, position = Job.from_hash(job_id, fields), int(reply[2]) if reply[2] else None
        return AcceptResult(job, is_new=is_new, needs_wakeup=reply[1] == "1", position=position)

    def restore(
        self,
        job_id: str,
        fields: Mapping[str, str | int],
        *,
        index_ms: int = INDEX_MS,
        max_ended: int = MAX_ENDED_JOBS,
        labels: Sequence[str] = (),
    ) -> bool:
        """Create a record from a job's objects. False: it exists, or the job was deleted or withdrawn meanwhile."""
        pairs = [item for pair in {"version": RECORD_VERSION, **fields}.items() for item in pair]
        limits = (index_ms, self._lease_ms, max_ended)
        reply = self._scripts.call("restore", job_id, *limits, len(labels), *labels, *pairs)
        return reply[0] == "ok"

    def withdraw(self, job_id: str, *, only_without_record: bool = False) -> Literal["ok", "exists", "ended", "full"]:
        """Remove a job that was not accepted, also one that a worker has; its record cannot be created afterwards.

        Args:
            only_without_record: leave a job alone that has a record.

        Returns:
            ``exists``, ``ended``, ``full``: nothing was written, because the job has a record, or has ended, or because
            too many withdrawn jobs wait for a keeper to delete their objects.
        """
        reply = self._scripts.call("withdraw", job_id, LATE_WRITER_MS, int(only_without_record))
        return cast("Literal['ok', 'exists', 'ended', 'full']", reply[0])

    def delete(self, job_id: str) -> bool:
        """Delete an ended job's rows. False: it has not ended."""
        return self._scripts.call("delete", job_id, LATE_WRITER_MS)[0] == "ok"
