"""The fields of a job record that is rebuilt from the job's objects."""

from jobs.model.documents.prepared import PreparedInputs
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus, Stage, new_claim

RecordFields = dict[str, str | int]

START_GRACE_MS = 10 * 60 * 1000
"""A prepared job may have been running when the table was lost, so it may start for this long even if its deadline has
passed."""


def waiting_fields(request: JobRequest, prepared: tuple[str, PreparedInputs] | None, now_ms: int) -> RecordFields:
    """Return the fields of a job that has no result.

    Args:
        prepared: the folder of its prepared inputs, and the inputs.
    """
    fields = _common_fields(request)
    if prepared is None:
        return {**fields, "status": JobStatus.PREPARING, "stage": Stage.PREPARE}
    folder, inputs = prepared
    fields |= {
        "prepared_folder": folder,
        "required_tokens": inputs.required_tokens,
        "prepared_ms": now_ms,
        "deadline_ms": max(request.created_ms + request.expires_ms, now_ms + START_GRACE_MS),
    }
    return {**fields, "status": JobStatus.QUEUED, "stage": Stage.GENERATE}


def sealed_fields(request: JobRequest, result: JobResult) -> RecordFields:
    """Return the fields of a job that has a result: sealed, with the times that the result contains."""
    fields = {**_common_fields(request), "stage": Stage.GENERATE if result.timings else Stage.PREPARE}
    fields |= {"status": JobStatus.RUNNING if result.timings else JobStatus.PREPARING, "attempt": result.attempt}
    fields |= {"sealed": result.status, "claim": new_claim(), "error_code": result.error_code[:64]}
    fields["tokens"] = int(sum(result.usage.get(kind, 0) for kind in ("thinking_tokens", "answer_tokens")))
    if result.timings:
        prepared = request.created_ms + int(result.timings.get("prepared_ms", 0))
        fields |= {"prepared_ms": prepared, "started_ms": prepared + int(result.timings.get("queued_ms", 0))}
    return fields


def _common_fields(request: JobRequest) -> RecordFields:
    return {
        "tenant": request.tenant,
        "priority": request.priority,
        "attempt": 0,
        "claim": "",
        "lost_leases": 0,
        "created_ms": request.created_ms,
        "deadline_ms": request.created_ms + request.expires_ms,
        "callback_events": " ".join(request.callback.events) if request.callback else "",
        "result_copies": len(request.result_urls),
        "retention_ms": request.retention_ms or 0,
    }
