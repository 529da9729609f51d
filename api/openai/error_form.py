"""Gives the errors of the OpenAI surface the form that OpenAI's clients expect.

Every error of the service already contains OpenAI's ``error`` object. On the paths of the OpenAI surface, a request
that is not valid is answered with 400, ``param`` is dotted, and headers say whether and when to send the request again.
The middleware does this for all errors, also for those of other middleware.
"""

import json
import re
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors.handlers import error_response
from jobs.errors import IdempotencyConflict, ThinkqueueError

PATHS = re.compile(r"/v1/(?:chat/completions|responses|files|batches)(?:/|$)")
"""The paths of the OpenAI surface. ``/v1/models`` is a native route too, so the form of its errors stays."""
MAX_RETRY_AFTER_S = 60
"""OpenAI's clients ignore a longer wait, or do not send the request again at all."""
RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
CODES = {"missing": "missing_required_parameter", "unknown_field": "unknown_parameter"}
"""OpenAI's codes of problems, where they differ."""
SHOULD_RETRY = "x-should-retry"
PROBLEM_TYPE = "application/problem+json"
INDEX = re.compile(r"\d+")


class OpenAIErrorMiddleware:
    """ASGI middleware that rewrites the problem documents of the OpenAI surface."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not PATHS.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _ErrorRewriter(send).send)


class _ErrorRewriter:
    """Holds back an error response until its body is complete. Such bodies are small."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                start, body = rewrite(self._start, self._body)
                await self._send(start)
                await self._send({"type": "http.response.body", "body": body})


def rewrite(start: Message, body: bytes) -> tuple[Message, bytes]:
    """Return the start and the body of an error response in OpenAI's form."""
    document = json.loads(body)
    status = HTTPStatus(start["status"])
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.CONFLICT if document["code"] == IdempotencyConflict.code else HTTPStatus.BAD_REQUEST
    document.update(status=int(status), title=status.phrase)
    document["error"].update(_error_fields(document))
    # First, because the messages of older SDKs contain the start of the body.
    body = json.dumps({"error": document.pop("error"), **document}, ensure_ascii=False).encode()
    start = {**start, "status": int(status)}
    headers = MutableHeaders(scope=start)
    headers["content-length"] = str(len(body))
    headers.setdefault(SHOULD_RETRY, "true" if status in RETRIED else "false")
    if (wait_s := headers.get("retry-after", "")).isdecimal():
        headers["retry-after"] = str(min(int(wait_s), MAX_RETRY_AFTER_S))
    return start, body


def error_document(error: ThinkqueueError) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of a call that an error has ended, in OpenAI's form."""
    response = error_response(error)
    sent: Message = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    start, body = rewrite(sent, bytes(response.body))
    return int(start["status"]), {"error": json.loads(body)["error"]}


def dotted_param(pointer: str) -> str | None:
    """Return a JSON pointer in OpenAI's form, such as ``input[0].content``; None for the whole body."""
    if not pointer.startswith("/"):
        return pointer.partition(":")[2] or None  # query:name, path:name, header:name
    param = ""
    for step in pointer[1:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        param += f"[{name}]" if param and INDEX.fullmatch(name) else f".{name}" if param else name
    return param


def _error_fields(document: dict[str, Any]) -> dict[str, Any]:
    problems = document.get("errors")
    if not problems:
        return {}
    first = problems[0]
    param = dotted_param(first["pointer"])
    return {
        "code": CODES.get(first["code"], first["code"]),
        "param": param,
        "message": f"{param or 'The body'}: {first['message']}",
    }


def _is_problem(start: Message) -> bool:
    headers = {name.lower(): value for name, value in start["headers"]}
    content_type: bytes = headers.get(b"content-type", b"")
    return int(start["status"]) >= HTTPStatus.BAD_REQUEST and content_type.startswith(PROBLEM_TYPE.encode())
