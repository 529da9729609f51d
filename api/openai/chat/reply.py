"""Writes chat completions, and errors of jobs that have failed."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from api.errors.handlers import problem_response
from api.openai.error_form import MAX_RETRY_AFTER_S, SHOULD_RETRY
from api.openai.extras import extras, reply_headers
from api.openai.failures import failure_of
from api.openai.foreground.call import ForegroundCall
from api.openai.ids import chat_id
from api.openai.request.sampling import service_tier
from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus

FINISH_REASONS = {"stop": "stop", "length": "length", "repetition": "length"}


def completion(call: ForegroundCall, result: JobResult) -> dict[str, Any]:
    """Return the completion of a job that has ended well."""
    output = result.output or {}
    thinking = output.get("thinking") or None
    answer = output.get("answer", "")
    function = call.options.get("function")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if function else answer,
        "refusal": None,
        "reasoning_content": thinking,
        "reasoning": thinking,
    }
    if function:
        message["tool_calls"] = [function_call(call, arguments=answer)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(call, result)}
    return {
        "id": chat_id(call.job.id),
        "object": "chat.completion",
        **common_fields(call),
        "choices": [choice],
        "usage": usage(result),
        "thinkqueue": extras(call.request, result, call.options["ignored"]),
    }


def common_fields(call: ForegroundCall) -> dict[str, Any]:
    """Return the fields that a completion and its chunks have in common."""
    return {
        "created": call.job.created_ms // 1000,
        "model": call.options["model"],
        "service_tier": service_tier(call.request.priority),
        "system_fingerprint": None,
    }


def function_call(call: ForegroundCall, *, arguments: str) -> dict[str, Any]:
    """Return the call of the function that the client forces; the answer is its arguments."""
    function = {"name": call.options["function"], "arguments": arguments}
    return {"id": call.job.id.replace("job_", "call_"), "type": "function", "function": function}


def finish_reason(call: ForegroundCall, result: JobResult) -> str:
    """Return why the answer ended; an answer that calls a function ends as the call, unless it is cut."""
    reason = FINISH_REASONS.get(result.finish_reason or "", "stop")
    return "tool_calls" if call.options.get("function") and reason == "stop" else reason


def usage(result: JobResult) -> dict[str, Any]:
    """Return a job's usage under OpenAI's names. Completion tokens are those of thinking and answer."""
    prompt = int(result.usage.get("input_tokens", 0))
    thinking = int(result.usage.get("thinking_tokens", 0))
    generated = thinking + int(result.usage.get("answer_tokens", 0))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def failure_response(call: ForegroundCall, result: JobResult) -> JSONResponse:
    """Return the error of a job that has ended without an answer."""
    error = failure_error(result)
    status = failure_of(result.error_code).status
    headers = {SHOULD_RETRY: "false", **reply_headers(call.job.id, call.options["ignored"])}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(MAX_RETRY_AFTER_S)
    return problem_response(status, error["code"], error["message"], headers=headers)


def failure_error(result: JobResult) -> dict[str, Any]:
    """Return OpenAI's error object of such a job."""
    failure = failure_of(result.error_code)
    kind = "invalid_request_error" if failure.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    message = (result.error or {}).get("message", "")
    return {"message": message, "type": kind, "code": failure.http_code or result.error_code, "param": None}


def has_answer(result: JobResult) -> bool:
    return result.status == JobStatus.COMPLETED
