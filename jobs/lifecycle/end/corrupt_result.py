"""Replaces a stored result that is damaged, so that its job ends once and is not retried without end.

Results are written once. A damaged one is the only exception: no process can have read the job's end from it. The
damaged bytes are kept beside the job's other objects, and are deleted with them. Which result replaces it is decided by
an object of its own that is written once, because not every store can overwrite an object conditionally.
"""

import structlog

from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus
from jobs.objects.documents import CorruptDocument, load_job_object, load_result, parse
from jobs.objects.keys import damaged_result_key, replacement_key, result_key
from jobs.objects.store import ObjectStore
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

DAMAGED = "The job's stored result is damaged; submit the job again."


def load_or_replace_result(
    object_store: ObjectStore, job_id: str, *, replacement: JobResult | None = None
) -> JobResult:
    """Return a job's stored result. A damaged one is replaced first.

    Several processes may call it at once: the replacement of the first one is what all of them return.

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
    object_store.put_if_absent(damaged_result_key(job_id), load_job_object(object_store, result_key(job_id)))
    failure = {"code": "internal_error", "message": DAMAGED}
    own = replacement or JobResult(job_id, JobStatus.FAILED, attempt=0, claim="", error=failure)
    key, data = replacement_key(job_id), own.to_json()
    if not object_store.put_if_absent(key, data):
        data = load_job_object(object_store, key)
    result = parse(key, data, JobResult.from_json)
    object_store.put(result_key(job_id), data, "application/json")
    return result
