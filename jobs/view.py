"""The public form of a job: what a poll answers and a webhook carries."""

from typing import Any

from jobs.blobs import BlobMissing, Blobs, request_key, result_key
from jobs.errors import NotFound
from jobs.record import Job
from jobs.request import JobRequest
from jobs.result import JobResult
from jobs.store import JobStore


def read_job(store: JobStore, blobs: Blobs, job_id: str, *, tenant: str) -> dict[str, Any]:
    """A tenant's job as it is now.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    job = store.get(job_id)
    if job is None or job.tenant != tenant:
        raise NotFound
    try:
        request = JobRequest.from_json(blobs.get(request_key(job_id)))
        result = JobResult.from_json(blobs.get(result_key(job_id))) if job.status.is_terminal else None
    except BlobMissing as error:
        raise NotFound("The job's objects have outlived their retention.") from error
    return public_job(job, request, result, blobs)


def public_job(job: Job, request: JobRequest, result: JobResult | None, blobs: Blobs) -> dict[str, Any]:
    """Links are made here, so each reader gets fresh ones."""
    return {
        "id": job.id,
        "object": "job",
        "status": job.status,
        "attempt": job.attempt,
        "created_at": job.created_ms // 1000,
        "started_at": job.started_ms // 1000 or None,
        "ended_at": job.ended_ms // 1000 or None,
        "tokens": job.tokens,
        "metadata": request.metadata,
        "error": result.error if result else None,
        "output": result.output if result else None,
        "finish_reason": result.finish_reason if result else None,
        "thinking_truncated": result.thinking_truncated if result else None,
        "truncation_reason": result.truncation_reason if result else None,
        "usage": result.usage if result else None,
        "timings": result.timings if result else None,
        "media": [
            {"kind": medium.kind, "name": medium.name, "url": blobs.link(medium.key)}
            for medium in (result.media if result else ())
        ],
    }
