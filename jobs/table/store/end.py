"""The end of a job in the job table. ``jobs/lifecycle/end/finalize.py`` calls its steps in their order."""

from collections.abc import Mapping
from typing import cast

from jobs.errors import ClaimLost, RecordMissing
from jobs.model.events import STREAM_RETENTION_MS
from jobs.model.job import JobStatus
from jobs.model.usage import USAGE_RETENTION_MS, Usage
from jobs.table import keys
from jobs.table.scripts import translate_redis_errors
from jobs.table.store.client import TableClient
from jobs.table.types import CancelReply, Precondition, SealResult


class JobEnd(TableClient):
    """Cancel, seal, finish, archive."""

    def cancel(self, job_id: str) -> CancelReply:
        """Request that a job's worker ends it. After ``unclaimed`` the caller must end it."""
        return cast("CancelReply", self._scripts.call("cancel", job_id)[0])

    def seal(self, job_id: str, *, sealer: str, status: JobStatus, error: str, expect: Precondition) -> SealResult:
        """Step one of an end. The same sealer may repeat it.

        Raises:
            RecordMissing
            ClaimLost: the precondition does not hold.
        """
        reply = self._scripts.call("seal", job_id, sealer, status, error[:64], self._lease_ms, expect)
        if reply[0] == "ok":
            return SealResult(None, int(reply[1]) if reply[1] else None)
        if reply[0] == "ended":
            return SealResult(JobStatus(reply[1]), None)
        raise RecordMissing if reply[0] == "unknown" else ClaimLost

    def finish(
        self,
        job_id: str,
        *,
        status: JobStatus,
        error: str,
        event_data: str,
        usage: Usage,
        retention_ms: int,
        ended_ms: int = 0,
        is_archived: bool = False,
        deliveries: Mapping[str, str] | None = None,
    ) -> bool:
        """Step three of an end. False: the job had ended before, or its record is missing.

        Args:
            event_data: JSON of the ``ended`` event.
            ended_ms: when it ended, for a job that ended before its table was lost; 0: now.
            is_archived: its events are in the object store already.
            deliveries: states of those that are settled already.
        """
        amounts = (usage.input_tokens, usage.thinking_tokens, usage.answer_tokens, usage.gpu_ms)
        settled = [item for pair in (deliveries or {}).items() for item in pair]
        retention = (retention_ms, USAGE_RETENTION_MS)
        result = (status, error[:64], event_data, *retention, *amounts, ended_ms, int(is_archived))
        return self._scripts.call("finish", job_id, *result, *settled)[0] == "ok"

    def mark_archived(self, job_id: str) -> None:
        """Record that a job's events are in the object store. Here they stay for ten minutes, for current readers."""
        with translate_redis_errors():
            self._redis.pexpire(keys.stream(job_id), STREAM_RETENTION_MS)
            self._redis.zrem(keys.UNARCHIVED, job_id)
