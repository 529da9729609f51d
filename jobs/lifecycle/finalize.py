"""The end of a job, in three steps, the same for worker, api and keeper.

1. seal: status and fence are checked; from here on neither a cancel nor a claim succeeds.
2. conditional PUT of ``results/<id>.json``: the first writer wins, for ever.
3. finish: status, event and delivery rows, as the object says, whoever wrote it.

A death between two steps loses nothing: the keeper finds the seal's lease run out and looks for the object.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from jobs.errors import ClaimLost, LinkExpired, NotFound, RecordMissing, RecoveryNeeded, StoreUnavailable
from jobs.model.job import Job, JobStatus, new_claim
from jobs.model.result import JobResult
from jobs.model.usage import Usage
from jobs.objects.store import ObjectMissing, ObjectStore, cancel_key, request_key, result_key
from jobs.table.deliveries import DeliveryState
from jobs.table.store import JobStore
from jobs.table.types import Precondition, SealResult

DAY_MS = 24 * 3600 * 1000
CANCEL_TRIES = 5
LONG_LINK = timedelta(minutes=10)


class JobFinalizer:
    def __init__(self, store: JobStore, object_store: ObjectStore, *, retention_days: int) -> None:
        self._store = store
        self._object_store = object_store
        self._retention_ms = retention_days * DAY_MS

    def finalize(self, result: JobResult, *, expect: Precondition) -> JobStatus:
        """End a job with ``result``, written under ``result.claim``.

        Returns:
            The status that it really has: another one may have ended it first.

        Raises:
            ClaimLost: it is not the caller's to end.
            Unavailable: may be called again; the steps that were done are passed over.
        """
        sealed_at = time.monotonic()
        try:
            sealed = self._seal(result, expect)
        except (RecordMissing, RecoveryNeeded):
            if expect != "owner":
                raise
            return self._store_result_only(result)
        if sealed.ended:
            return sealed.ended
        return self._publish(replace(result, stopped_after_ms=sealed.stopped_after_ms), expect, sealed_at)

    def finalize_orphan(
        self, job: Job, status: JobStatus, code: str, message: str, *, expect: Precondition
    ) -> JobStatus:
        """End a job that no worker speaks for. What its journal has is kept, and counted. Raises as ``end``."""
        result = JobResult.without_output(job, status, code, message, claim=new_claim())
        sealed_at = time.monotonic()
        sealed = self._seal(result, expect)
        if sealed.ended:
            return sealed.ended
        # Behind the seal nobody adds to the journal any more.
        result = replace(result, stopped_after_ms=sealed.stopped_after_ms).with_journal(self._store.events(job.id))
        return self._publish(result, expect, sealed_at)

    def cancel(self, job: Job) -> None:
        """End a job that nobody has; ask the worker of one that somebody has, who ends it at its next token.

        Raises:
            NotFound: it is gone.
            Unavailable: may be called again.
        """
        for _ in range(CANCEL_TRIES):
            reply = self._store.cancel(job.id)
            if reply == "unknown":
                raise NotFound
            if reply in ("requested", "ending"):
                # Whoever hears that a job will be cancelled may rely on it, even if Redis loses what it was told.
                self._object_store.put_if_absent(cancel_key(job.id), b"{}")
            if reply != "unclaimed":
                return
            message = "The job was cancelled while it waited."
            try:
                self.finalize_orphan(job, JobStatus.CANCELLED, "cancelled", message, expect="unclaimed")
            except ClaimLost:
                continue  # a worker took it in between: now it can be asked
            return
        raise StoreUnavailable("The job changes hands too fast to be cancelled; try again.")

    def finalize_from_result(
        self,
        job_id: str,
        *,
        ended_ms: int = 0,
        is_archived: bool = False,
        deliveries: Mapping[str, DeliveryState] | None = None,
    ) -> JobStatus | None:
        """Finish as the job's result object says; None: there is no such object.

        Args:
            ended_ms: when it was written; 0: now.
            is_archived: its events are in the object store already.
            deliveries: those that are settled, with how.
        """
        try:
            result = JobResult.from_json(self._object_store.get(result_key(job_id)))
        except ObjectMissing:
            return None
        return self._finish(result, ended_ms=ended_ms, is_archived=is_archived, deliveries=deliveries)

    def _seal(self, result: JobResult, expect: Precondition) -> SealResult:
        return self._store.seal(
            result.id, sealer=result.claim, status=result.status, error=result.error_code, expect=expect
        )

    def _publish(self, result: JobResult, expect: Precondition, sealed_at: float) -> JobStatus:
        """Steps two and three.

        A process that froze behind its seal for longer than the seal holds must not write any more: the link that it
        PUTs to is refused by then. A clock that differs from the store's looks the same, so then the seal is looked at
        once more before a longer link is used.
        """
        key, data = result_key(result.id), result.to_json()
        left_s = int(sealed_at + self._store.lease_s - time.monotonic())
        try:
            if left_s < 1:
                raise LinkExpired
            is_ours = self._object_store.put_if_absent(key, data, lifetime=timedelta(seconds=left_s))
        except LinkExpired:
            if ended := self._seal(result, expect).ended:
                return ended
            is_ours = self._object_store.put_if_absent(key, data, lifetime=LONG_LINK)
        return self._finish(result if is_ours else JobResult.from_json(self._object_store.get(key)))

    def _store_result_only(self, result: JobResult) -> JobStatus:
        """The table was lost: leave the result where `recover` finds it, and does not run the job anew.

        Raises:
            ClaimLost: the job was removed.
        """
        if self._object_store.is_empty(request_key(result.id)):
            raise ClaimLost
        if not self._object_store.is_empty(cancel_key(result.id)):
            error = {"code": "cancelled", "message": "The job was cancelled."}
            result = replace(result, status=JobStatus.CANCELLED, error=error, stopped_after_ms=0)
        self._object_store.put_if_absent(result_key(result.id), result.to_json())
        return result.status

    def _finish(
        self,
        result: JobResult,
        *,
        ended_ms: int = 0,
        is_archived: bool = False,
        deliveries: Mapping[str, DeliveryState] | None = None,
    ) -> JobStatus:
        told: dict[str, object] = {"status": result.status, "error": result.error}
        if result.stopped_after_ms is not None:
            told["stopped_after_ms"] = result.stopped_after_ms
        self._store.finish(
            result.id,
            status=result.status,
            error=result.error_code,
            event_data=json.dumps(told, ensure_ascii=False),
            usage=Usage.from_result(result.usage),
            retention_ms=self._retention_ms,
            ended_ms=ended_ms,
            is_archived=is_archived,
            deliveries=deliveries or {},
        )
        return result.status
