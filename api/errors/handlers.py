"""The one table from errors to HTTP, and the body that they all share.

RFC 9457 ``application/problem+json`` with OpenAI's ``error`` object in it, so that both kinds of client find theirs.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.errors.validation import problems_of
from jobs.errors import (
    Forbidden,
    IdempotencyConflict,
    Invalid,
    NotEnded,
    NotFound,
    NotInitialized,
    Overloaded,
    Problem,
    ThinkqueueError,
    Unauthorized,
    Unavailable,
)
from runtime import metrics

log = structlog.get_logger(__name__)

STATUSES: dict[type[ThinkqueueError], HTTPStatus] = {
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyConflict: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    NotEnded: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    NotInitialized: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Each with all errors under it."""


def status_of(kind: type[ThinkqueueError]) -> HTTPStatus:
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), HTTPStatus.INTERNAL_SERVER_ERROR)


RETRY_AFTER_S = 5
"""For a server that does not answer; OpenAI's SDK ignores waits over 60 s."""


class BodyTooSlow(HTTPException):
    """See BodyTooLarge."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, f"The body did not come in within {limit_s:.0f} s.")


class BodyTooLarge(HTTPException):
    """An HTTPException, because FastAPI turns every other error of a body's reading into a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is larger than {limit} bytes; send large pictures as URLs.",
        )


def problem_body(status: HTTPStatus, code: str, message: str, *, problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """``error.param`` is the first fault's field, as a JSON pointer; ``errors`` lists them all."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "code": code,
        "detail": message,
        "error": {
            "message": message,
            "type": "rate_limit_error" if status == 429 else kind,
            "code": code,
            "param": problems[0].pointer if problems else None,
        },
    }
    if problems:
        body["errors"] = [
            {"pointer": fault.pointer, "code": fault.code, "message": fault.message} for fault in problems
        ]
    return body


def problem_response(
    status: HTTPStatus,
    code: str,
    message: str,
    *,
    problems: Sequence[Problem] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    metrics.REFUSALS.labels(code).inc()
    body = problem_body(status, code, message, problems=problems)
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def response_to(error: ThinkqueueError) -> JSONResponse:
    """What a client hears of one of our errors."""
    status = status_of(type(error))
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
        log.warning("request.unavailable", code=error.code, detail=error.message)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    problems = error.problems if isinstance(error, Invalid) else []
    return problem_response(status, error.code, error.message, problems=problems, headers=headers)


def install_handlers(app: FastAPI) -> None:
    @app.exception_handler(ThinkqueueError)
    def known(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ThinkqueueError)
        return response_to(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        problems = problems_of(error)
        if problems[0].code == "invalid_json":
            return problem_response(HTTPStatus.BAD_REQUEST, "invalid_json", problems[0].message, problems=problems)
        return problem_response(
            HTTPStatus.UNPROCESSABLE_ENTITY, Invalid.code, Invalid(problems).message, problems=problems
        )

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status, headers, detail = HTTPStatus(error.status_code), dict(error.headers or {}), error.detail
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette names only those of the first route that has this path.
            headers["Allow"] = ", ".join(_methods(app, request))
            detail = f"{request.method} is not possible here; possible: {headers['Allow']}."
        elif status == HTTPStatus.NOT_FOUND:
            detail = f"There is no {request.url.path[:200]} here; the routes are at /docs."
        return problem_response(status, status.name.lower(), detail, headers=headers)

    @app.exception_handler(Exception)
    def unknown(request: Request, error: Exception) -> JSONResponse:
        log.error("request.crashed", path=request.url.path, exc_info=error)
        return problem_response(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong here; it was logged."
        )


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Those that the request's path takes."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in app.routes)
    ]
