"""The end of a job, in three steps, the same for worker, api and keeper.

1. seal: status and fence are checked; from here on neither a cancel nor a claim succeeds.
2. conditional PUT of ``results/<id>.json``: the first writer wins, for ever.
3. finish: status, event and delivery rows, as the object says, whoever wrote it.

A death between two steps loses nothing: the keeper finds the seal's lease run out and looks for the object.
"""

import json

from jobs.blobs import BlobMissing, Blobs, result_key
from jobs.errors import ClaimLost, NotFound, StoreUnavailable
from jobs.record import Job, JobStatus, new_claim
from jobs.result import JobResult
from jobs.store import Expect, JobStore
from jobs.usage import Usage

DAY_MS = 24 * 3600 * 1000
CANCEL_TRIES = 5


class Ending:
    def __init__(self, store: JobStore, blobs: Blobs, *, retention_days: int) -> None:
        self._store = store
        self._blobs = blobs
        self._retention_ms = retention_days * DAY_MS

    def end(self, result: JobResult, *, expect: Expect) -> JobStatus:
        """End a job with ``result``, written under ``result.claim``.

        Returns:
            The status that it really has: another one may have ended it first.

        Raises:
            ClaimLost: it is not the caller's to end.
            Unavailable: may be called again; the steps that were done are passed over.
        """
        ended = self._store.seal(
            result.id, sealer=result.claim, status=result.status, error=result.error_code, expect=expect
        )
        return ended or self._publish(result)

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
            if reply != "waiting":
                return
            result = JobResult.without_output(
                job, JobStatus.CANCELLED, "cancelled", "The job was cancelled before it ran.", claim=new_claim()
            )
            try:
                self.end(result, expect="waiting")
            except ClaimLost:
                continue  # a worker took it in between: now it can be asked
            return
        raise StoreUnavailable("The job changes hands too fast to be cancelled; try again.")

    def adopt(self, job_id: str) -> JobStatus | None:
        """Finish as the job's result object says; None: there is no such object."""
        try:
            result = JobResult.from_json(self._blobs.get(result_key(job_id)))
        except BlobMissing:
            return None
        return self._finish(result)

    def _publish(self, result: JobResult) -> JobStatus:
        key = result_key(result.id)
        if not self._blobs.put_if_absent(key, result.to_json()):
            result = JobResult.from_json(self._blobs.get(key))
        return self._finish(result)

    def _finish(self, result: JobResult) -> JobStatus:
        self._store.finish(
            result.id,
            status=result.status,
            error=result.error_code,
            event_data=json.dumps({"status": result.status, "error": result.error}, ensure_ascii=False),
            usage=Usage.of_result(result.usage),
            retention_ms=self._retention_ms,
        )
        return result.status
