"""The public form of a job: what a poll answers, a list shows and a webhook carries."""

import hashlib
import json
from typing import Any

from jobs.errors import NotFound, StoreUnavailable
from jobs.model.job import Job
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.objects.store import ObjectMissing, ObjectStore, request_key, result_key
from jobs.table.store import JobStore


def find_job(store: JobStore, job_id: str, *, tenant: str) -> Job:
    """A tenant's job.

    Raises:
        NotFound: there is none, or it is somebody else's: nobody learns which.
        StoreUnavailable: it may exist, but the table is not recovered yet.
    """
    job = store.get(job_id)
    if job is None and not store.integrity.is_reconciled():
        raise StoreUnavailable("The job table is being recovered; try again shortly.")
    if job is None or job.tenant != tenant:
        raise NotFound
    return job


def read_request(object_store: ObjectStore, job_id: str) -> JobRequest:
    """Raises NotFound."""
    try:
        return JobRequest.from_json(object_store.get(request_key(job_id)))
    except ObjectMissing:
        raise NotFound("The job's objects have outlived their retention.") from None


def read_result(object_store: ObjectStore, job: Job) -> JobResult | None:
    """None: it has not ended. Raises NotFound."""
    if not job.status.is_terminal:
        return None
    try:
        return JobResult.from_json(object_store.get(result_key(job.id)))
    except ObjectMissing:
        raise NotFound("The job's objects have outlived their retention.") from None


def summary(job: Job, request: JobRequest) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "priority": job.priority,
        "attempt": job.attempt,
        "created_at": job.created_ms // 1000,
        "started_at": job.started_ms // 1000 or None,
        "ended_at": job.ended_ms // 1000 or None,
        "expires_at": job.deadline_ms // 1000,
        "tokens": job.tokens,
        "metadata": request.metadata,
        "retried_from": request.retried_from,
    }


def result_document(request: JobRequest, result: JobResult) -> bytes:
    """A result by itself, for copies of it: the same bytes at any time, so without links."""
    document = {
        "id": result.id,
        "object": "job",
        "status": result.status,
        "metadata": request.metadata,
        "error": result.error,
        "output": result.output,
        "finish_reason": result.finish_reason,
        "thinking_truncated": result.thinking_truncated,
        "truncation_reason": result.truncation_reason,
        "usage": result.usage,
        "timings": result.timings,
        "stopped_after_ms": result.stopped_after_ms,
        "media": [{"kind": medium.kind, "name": medium.name} for medium in result.media],
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


def _digest(request: JobRequest, result: JobResult | None) -> str | None:
    if result is None or not request.result_urls:
        return None
    return hashlib.sha256(result_document(request, result)).hexdigest()


def public_job(
    job: Job, request: JobRequest, result: JobResult | None, object_store: ObjectStore, *, position: int | None = None
) -> dict[str, Any]:
    """Links are made here, so each reader gets fresh ones."""
    return {
        **summary(job, request),
        "position": position,
        "error": result.error if result else None,
        "output": result.output if result else None,
        "finish_reason": result.finish_reason if result else None,
        "thinking_truncated": result.thinking_truncated if result else None,
        "truncation_reason": result.truncation_reason if result else None,
        "usage": result.usage if result else None,
        "timings": result.timings if result else None,
        "stopped_after_ms": result.stopped_after_ms if result else None,
        "result_sha256": _digest(request, result),
        "media": [
            {"kind": medium.kind, "name": medium.name, "url": object_store.link(medium.key)}
            for medium in (result.media if result else ())
        ],
    }
