"""Maps every error to an HTTP response.

All errors share one body: RFC 9457 ``application/problem+json`` that also contains OpenAI's ``error`` object, so
clients of either convention find what they look for.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from api.errors.validation import validation_problems
from jobs.errors import (
    Forbidden,
    IdempotencyConflict,
    Invalid,
    ModelNotFound,
    NotEnded,
    NotFound,
    NotInitialized,
    Overloaded,
    Problem,
    ThinkqueueError,
    TooManyConnections,
    Unauthorized,
    Unavailable,
)
from jobs.objects.documents import CorruptDocument
from runtime.sizes import format_size
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

STATUSES: dict[type[ThinkqueueError], HTTPStatus] = {
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyConflict: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    NotEnded: HTTPStatus.CONFLICT,
    TooManyConnections: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    NotInitialized: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of each error class and its subclasses."""

REQUEST_ID_HEADER = "x-request-id"
CLIENT_CLOSED_REQUEST = 499
"""What nginx counts where a client closed the connection before its request had arrived."""

UNAVAILABLE_RETRY_AFTER_S = 5
"""``Retry-After`` of a 503. OpenAI's SDK ignores values over 60 s."""


class BodyTooSlow(HTTPException):
    """The body did not arrive in time. See BodyTooLarge for why this is an HTTPException."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(HTTPStatus.REQUEST_TIMEOUT, f"The body did not arrive within {limit_s:.0f} s.")


class BodyTooLarge(HTTPException):
    """The body exceeds the limit.

    It is an HTTPException because FastAPI turns every other error raised while it reads a body into a 400.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is larger than {format_size(limit)}; upload large files or send them as URLs.",
        )


def http_status_of(kind: type[ThinkqueueError]) -> HTTPStatus:
    """Return the HTTP status of an error class; 500 for classes that clients never see."""
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_body(
    status: HTTPStatus, code: str, message: str, *, request_id: str | None, problems: Sequence[Problem] = ()
) -> dict[str, Any]:
    """Build the body of an error response.

    ``errors`` lists all problems; ``error.param`` is the JSON pointer of the first one.
    """
    error_type = "invalid_request_error" if status < 500 else "server_error"
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "code": code,
        "detail": message,
        "request_id": request_id,
        "error": {
            "message": message,
            "type": "rate_limit_error" if status == 429 else error_type,
            "code": code,
            "param": problems[0].pointer if problems else "model" if code == ModelNotFound.code else None,
        },
    }
    if problems:
        body["errors"] = [
            {"pointer": problem.pointer, "code": problem.code, "message": problem.message} for problem in problems
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
    """Build an error response for the current request and count it."""
    metrics.REFUSALS.labels(code).inc()
    body = problem_body(status, code, message, request_id=correlation_id.get(), problems=problems)
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def error_response(error: ThinkqueueError) -> JSONResponse:
    """Build the response to one of the project's own errors."""
    status = http_status_of(type(error))
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(UNAVAILABLE_RETRY_AFTER_S)
        log.warning("request.unavailable", code=error.code, detail=error.message)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    problems = error.problems if isinstance(error, Invalid) else []
    return problem_response(status, error.code, error.message, problems=problems, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Register a handler for every kind of error, so every error response has the same body."""

    @app.exception_handler(ThinkqueueError)
    def handle_known_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ThinkqueueError)
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    def handle_invalid_request(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        field = getattr(request.scope.get("route"), "body_field", None)
        problems = validation_problems(error, field.field_info.annotation if field else None)
        if problems[0].code == "invalid_json":
            return problem_response(HTTPStatus.BAD_REQUEST, "invalid_json", problems[0].message, problems=problems)
        return error_response(Invalid(problems))

    @app.exception_handler(HTTPException)
    def handle_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status, headers, detail = HTTPStatus(error.status_code), dict(error.headers or {}), error.detail
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette's own header names only the methods of the first route with this path.
            headers["Allow"] = ", ".join(_allowed_methods(app, request))
            detail = f"Method {request.method} not allowed; allowed: {headers['Allow']}."
        elif status == HTTPStatus.NOT_FOUND:
            detail = f"No route matches {request.url.path[:200]}; see /docs for the routes."
        return problem_response(status, status.name.lower(), detail, headers=headers)

    @app.exception_handler(ClientDisconnect)
    def handle_disconnect(_request: Request, _error: Exception) -> Response:
        # No client reads it, but the metrics count it. As a crash, each would log two stacks.
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(CorruptDocument)
    def handle_corrupt_document(request: Request, error: Exception) -> JSONResponse:
        log.error("request.corrupt_document", path=request.url.path, detail=str(error))
        message = (
            "A stored object of this resource is damaged; repeating the request does not help. Submit the job again."
        )
        return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message)

    @app.exception_handler(Exception)
    def handle_crash(request: Request, error: Exception) -> JSONResponse:
        log.error("request.crashed", path=request.url.path, exc_info=error)
        # Starlette answers a crash outside all middleware, so the request id's header is set here.
        headers = {REQUEST_ID_HEADER: correlation_id.get() or ""}
        message = "The service failed to handle the request; report it with the request id."
        return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message, headers=headers)


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that the request's path accepts."""
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(_matches(route, request, "GET" if method == "HEAD" else method) for route in app.routes)
    ]


def _matches(route: BaseRoute, request: Request, method: str) -> bool:
    return route.matches({**request.scope, "method": method})[0] == Match.FULL
