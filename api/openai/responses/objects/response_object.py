"""Builds the Response object.

It depends on the stored request, the stored result and the output items only, so the same response is the same bytes
whenever and wherever it is built. What changes while a job waits is added by the routes, and is in no event.
"""

from typing import Any

from api.openai.extras import extras
from api.openai.failures import failure_of
from api.openai.request.sampling import service_tier
from api.openai.responses.ids import response_id
from api.openai.responses.objects.items import Item
from api.openai.responses.request.client_fields import ClientFields
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus

RUNNING_STATUS = {
    JobStatus.PREPARING: "queued",
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
}
"""The status of a response whose job has not ended."""
ENDED_STATUS = {JobStatus.FAILED: "failed", JobStatus.EXPIRED: "failed", JobStatus.CANCELLED: "cancelled"}
INCOMPLETE_REASONS = {"length": "max_output_tokens"}
"""Of a completed job that did not finish its answer, by its finish_reason. There is no reason for a repetition."""


def running_response(request: JobRequest, status: str) -> dict[str, Any]:
    """Return the response of a job that has not ended."""
    return _response(request, status, None, [])


def ended_response(request: JobRequest, result: JobResult, output: list[Item]) -> dict[str, Any]:
    """Return the response of a job that has ended."""
    return _response(request, ended_status(result), result, output)


def ended_status(result: JobResult) -> str:
    """Return the status of a response whose job has ended."""
    if result.status == JobStatus.COMPLETED:
        return "completed" if result.finish_reason in ("stop", None) else "incomplete"
    return ENDED_STATUS[result.status]


def _response(request: JobRequest, status: str, result: JobResult | None, output: list[Item]) -> dict[str, Any]:
    client = ClientFields.of(request)
    return {
        "id": response_id(request.id),
        "object": "response",
        "created_at": request.created_ms // 1000,
        "completed_at": None,
        "status": status,
        "background": client.background,
        "error": _error(result),
        "incomplete_details": _incomplete_details(status, result),
        "instructions": client.instructions,
        "max_output_tokens": client.max_output_tokens,
        "metadata": request.metadata,
        "model": client.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": client.previous_response_id,
        "reasoning": {"effort": client.effort, "summary": client.summary},
        "service_tier": service_tier(request.priority),
        "store": client.store,
        "temperature": request.sampling.get("temperature"),
        "text": {"format": {"type": "text"}},
        **_tools(request, client),
        "top_p": request.sampling.get("top_p"),
        "truncation": "disabled",
        "usage": _usage(result),
        "user": client.user,
        "thinkqueue": _extras(request, result, client),
    }


def _tools(request: JobRequest, client: ClientFields) -> dict[str, Any]:
    """Return the function that the answer calls, of all tools that the client sent."""
    if client.function is None or request.response_format is None:
        return {"tool_choice": "auto", "tools": []}
    choice = {"type": "function", "name": client.function}
    function = {**choice, "description": None, "parameters": request.response_format["schema"], "strict": True}
    return {"tool_choice": choice, "tools": [function]}


def _error(result: JobResult | None) -> dict[str, str] | None:
    if result is None or result.error is None or result.status == JobStatus.CANCELLED:
        return None
    return {"code": failure_of(result.error_code).code, "message": result.error["message"]}


def _incomplete_details(status: str, result: JobResult | None) -> dict[str, str | None] | None:
    if status != "incomplete" or result is None:
        return None
    return {"reason": INCOMPLETE_REASONS.get(result.finish_reason or "")}


def _usage(result: JobResult | None) -> dict[str, Any] | None:
    if result is None or not result.usage:
        return None
    prompt, thinking, answer = (int(result.usage.get(f"{kind}_tokens", 0)) for kind in ("input", "thinking", "answer"))
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": thinking + answer,
        "output_tokens_details": {"reasoning_tokens": thinking},
        "total_tokens": prompt + thinking + answer,
    }


def _extras(request: JobRequest, result: JobResult | None, client: ClientFields) -> dict[str, Any]:
    found = extras(request, result, client.ignored)
    if result is not None and result.error is not None:
        found["error_code"] = result.error_code
    if result is not None and result.stopped_after_ms is not None:
        found["stopped_after_ms"] = result.stopped_after_ms
    return found
