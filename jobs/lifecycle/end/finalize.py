"""Ends a job in three steps, the same for workers, api and keeper.

1. seal: checks status and fence in the job table; afterwards neither a cancel nor a claim succeeds.
2. conditional PUT of ``results/<id>.json``: the first writer wins.
3. finish: sets status, event and delivery rows as the stored object says, even if another process wrote it.

A process that dies between two steps loses nothing: the lease of the seal expires, and the keeper looks for the object.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from jobs.errors import (
    ClaimLost,
    JobWithdrawn,
    NotFound,
    PresignedUrlExpired,
    RecordMissing,
    RecoveryNeeded,
    StoreUnavailable,
)
from jobs.lifecycle.acceptance import Acceptance
from jobs.lifecycle.end.corrupt_result import load_or_replace_result
from jobs.lifecycle.end.deletion import delete_if_removed
from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus, new_claim
from jobs.model.retention import DAY_MS
from jobs.model.usage import Usage
from jobs.objects.keys import cancel_key, request_key, result_key
from jobs.objects.store import ObjectStore
from jobs.table.deliveries import DeliveryState
from jobs.table.store import JobStore
from jobs.table.types import Precondition, SealResult

CANCEL_TRIES = 5
RESEALED_URL_LIFETIME = timedelta(minutes=10)


class JobFinalizer:
    """Ends jobs, with or without their worker."""

    def __init__(self, store: JobStore, object_store: ObjectStore, *, retention_days: int) -> None:
        self._store = store
        self._object_store = object_store
        self._retention_ms = retention_days * DAY_MS
        self._acceptance = Acceptance(store, object_store)

    def finalize(self, result: JobResult, *, expect: Precondition) -> JobStatus:
        """End a job with ``result``, which was produced under ``result.claim``.

        Returns:
            The status that the job has now: another process may have ended it first.

        Raises:
            ClaimLost: the caller does not own the job, or the job was withdrawn.
            Unavailable: call it again; steps that are done are skipped.
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
        """End a job that no worker holds, with the output and usage in its journal. Raises as ``finalize``."""
        result = JobResult.without_output(job, status, code, message, claim=new_claim())
        sealed_at = time.monotonic()
        sealed = self._seal(result, expect)
        if sealed.ended:
            return sealed.ended
        # Read after the seal: from then on no worker can append to the journal.
        result = replace(result, stopped_after_ms=sealed.stopped_after_ms).with_journal(self._store.events(job.id))
        return self._publish(result, expect, sealed_at)

    def cancel(self, job: Job) -> None:
        """End a job that waits; ask the worker of a claimed job to end it, which it does at the next token.

        Raises:
            NotFound: the job was deleted.
            Unavailable: call it again.
        """
        for _ in range(CANCEL_TRIES):
            reply = self._store.cancel(job.id)
            if reply == "unknown":
                raise NotFound
            if reply in ("requested", "ending"):
                # The client may rely on the cancel from now on, even if Redis loses its last second.
                self._object_store.put_if_absent(cancel_key(job.id), b"{}")
                delete_if_removed(self._store, self._object_store, job.id, cancel_key(job.id))
            if reply != "unclaimed":
                return
            message = "The job was cancelled while it waited."
            try:
                self.finalize_orphan(job, JobStatus.CANCELLED, "cancelled", message, expect="unclaimed")
            except ClaimLost:
                continue  # a worker claimed it meanwhile: ask that worker
            return
        raise StoreUnavailable("The job changes owners too quickly to be cancelled; try again.")

    def finalize_from_result(
        self,
        job_id: str,
        *,
        result: JobResult | None = None,
        ended_ms: int = 0,
        is_archived: bool = False,
        deliveries: Mapping[str, DeliveryState] | None = None,
    ) -> JobStatus | None:
        """Finish a job as its result object says. None: it has no result object.

        Raises:
            ClaimLost: the job was withdrawn; its rows are removed.

        Args:
            result: the object, if it was read before.
            ended_ms: when the object was written; 0: now.
            is_archived: the job's events are in the object store already.
            deliveries: the states of deliveries that are settled.
        """
        try:
            result = result or self._load_result(job_id)
        except NotFound:
            return None
        return self._finish(result, ended_ms=ended_ms, is_archived=is_archived, deliveries=deliveries)

    def _seal(self, result: JobResult, expect: Precondition) -> SealResult:
        return self._store.seal(
            result.id, sealer=result.claim, status=result.status, error=result.error_code, expect=expect
        )

    def _publish(self, result: JobResult, expect: Precondition, sealed_at: float) -> JobStatus:
        """Store the result and finish the record: steps two and three.

        A process that was frozen for longer than its seal lasts must not write: the presigned URL of its PUT has
        expired by then. A clock that differs from the store's has the same effect, so the seal is checked once more
        before the PUT is repeated with a longer lifetime.
        """
        key, data = result_key(result.id), result.to_json()
        left_s = int(sealed_at + self._store.lease_s - time.monotonic())
        try:
            if left_s < 1:
                raise PresignedUrlExpired
            is_ours = self._object_store.put_if_absent(key, data, lifetime=timedelta(seconds=left_s))
        except PresignedUrlExpired:
            if ended := self._seal(result, expect).ended:
                return ended
            is_ours = self._object_store.put_if_absent(key, data, lifetime=RESEALED_URL_LIFETIME)
        return self._finish(result if is_ours else self._load_result(result.id, replacement=result))

    def _store_result_only(self, result: JobResult) -> JobStatus:
        """Write only the result, after the job table was lost: `recover` finds it and does not run the job again.

        Raises:
            ClaimLost: the job was deleted or withdrawn.
        """
        if self._object_store.is_empty(request_key(result.id)):
            raise ClaimLost
        if not self._object_store.is_empty(cancel_key(result.id)):
            error = {"code": "cancelled", "message": "The job was cancelled."}
            result = replace(result, status=JobStatus.CANCELLED, error=error, stopped_after_ms=0)
        if self._object_store.put_if_absent(result_key(result.id), result.to_json()):
            return result.status
        try:
            return load_or_replace_result(self._object_store, result.id, replacement=result).status
        except JobWithdrawn:
            raise ClaimLost from None

    def _load_result(self, job_id: str, *, replacement: JobResult | None = None) -> JobResult:
        """Load a stored result; a damaged one is replaced (corrupt_result.py).

        Raises:
            NotFound
            ClaimLost: the job was withdrawn; its rows are removed now.
        """
        try:
            return load_or_replace_result(self._object_store, job_id, replacement=replacement)
        except JobWithdrawn:
            self._acceptance.discard(job_id)
            raise ClaimLost from None

    def _finish(
        self,
        result: JobResult,
        *,
        ended_ms: int = 0,
        is_archived: bool = False,
        deliveries: Mapping[str, DeliveryState] | None = None,
    ) -> JobStatus:
        event_data: dict[str, object] = {"status": result.status, "error": result.error}
        if result.stopped_after_ms is not None:
            event_data["stopped_after_ms"] = result.stopped_after_ms
        self._store.finish(
            result.id,
            status=result.status,
            error=result.error_code,
            event_data=json.dumps(event_data, ensure_ascii=False),
            usage=Usage.from_result(result.usage),
            retention_ms=self._retention_ms,
            ended_ms=ended_ms,
            is_archived=is_archived,
            deliveries=deliveries or {},
        )
        return result.status
