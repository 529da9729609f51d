"""The object ``thinkqueue`` in replies: what the service knows and OpenAI's objects have no field for."""

from collections.abc import Sequence
from typing import Any

from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult

JOB_HEADER = "x-thinkqueue-job"
IGNORED_HEADER = "x-thinkqueue-ignored"
MAX_HEADER_CHARACTERS = 1_000


def extras(request: JobRequest, result: JobResult | None, ignored: Sequence[str] = ()) -> dict[str, Any]:
    """Return the object. Nothing in it changes from one reply to the next, so it has no presigned URLs.

    Args:
        result: None while the job runs.
        ignored: names of the client's fields that have no effect.
    """
    found: dict[str, Any] = {
        "job_id": request.id,
        "thinking_budget": request.thinking_budget,
        "max_answer_tokens": request.max_answer_tokens,
    }
    if ignored:
        found["ignored"] = list(ignored)
    if result is None:
        return found
    output = result.output or {}
    return {
        **found,
        "attempt": result.attempt,
        "finish_reason": result.finish_reason,
        "thinking_truncated": result.thinking_truncated,
        "truncation_reason": result.truncation_reason,
        "boxes": output.get("boxes", []),
        "raw": output.get("raw", ""),
        "media": [{"kind": item.kind, "name": item.name} for item in result.media],
        "timings": result.timings,
        "gpu_seconds": result.usage.get("gpu_seconds", 0),
    }


def reply_headers(job_id: str, ignored: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers that every reply about a job has."""
    return {JOB_HEADER: job_id, **ignored_header(ignored)}


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Return the header that names the fields without effect; none if there are none."""
    if not ignored:
        return {}
    # A name can have any characters; a header cannot.
    names = ", ".join(name.encode("ascii", "backslashreplace").decode() for name in ignored)
    printable = "".join(sign if sign.isprintable() else "?" for sign in names)
    return {IGNORED_HEADER: printable[:MAX_HEADER_CHARACTERS]}
