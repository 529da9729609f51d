"""Replaces a stored result that is damaged, so that its job ends once and is not retried without end.

Results are written once. A damaged one is the only exception: no process can have read the job's end from it. The
damaged bytes are kept beside the job's other objects, and are deleted with them.
"""

import structlog

from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus
from jobs.objects.documents import CorruptDocument, load_result
from jobs.objects.keys import damaged_result_key, result_key
from jobs.objects.store import ObjectStore
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

DAMAGED = "The job's stored result is damaged; submit the job again."


def load_or_replace_result(
    object_store: ObjectStore, job_id: str, *, replacement: JobResult | None = None
) -> JobResult:
    """Return a job's stored result. A damaged one is replaced first.

    Several processes may call it at once: without ``replacement`` all of them write the same bytes.

    Args:
        replacement: the result of a caller that holds the job's seal; None: the job fails with ``internal_error``.

    Raises:
        NotFound: the job has no result.
        JobWithdrawn, NewerDocument, ObjectStoreUnavailable
    """
    try:
        return load_result(object_store, job_id)
    except CorruptDocument as error:
        log.error("job.result_corrupt", job_id=job_id, detail=str(error))
    metrics.CORRUPT_RESULTS.inc()
    object_store.put(damaged_result_key(job_id), object_store.get(result_key(job_id)))
    failure = {"code": "internal_error", "message": DAMAGED}
    result = replacement or JobResult(job_id, JobStatus.FAILED, attempt=0, claim="", error=failure)
    object_store.put(result_key(job_id), result.to_json(), "application/json")
    return result
