"""Parses and validates request bodies as strict JSON, so everything that is stored can be written out again.

Large bodies are handled by another process, or in threads, few at a time and in turns between tenants.
"""

import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Protocol

import anyio.to_thread
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.middleware.fairness.fair_share import tenant_of
from api.middleware.fairness.shares import Shares
from api.middleware.input.json_limits import JsonTooComplex, read_json
from jobs.errors import Invalid

INLINE_BYTES = 16 * 1024
"""Bodies up to this size are processed on the event loop: a thread costs more than their validation."""
PLACEHOLDER = b" "
"""Given to FastAPI instead of a body that is parsed already: FastAPI keeps it until the response has ended."""


class UnsupportedBody(HTTPException):
    """The body has another type or encoding than plain JSON.

    It is an HTTPException because FastAPI turns every other error raised while it reads a body into a plain 400.
    """

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)


class BodyForwarder(Protocol):
    """Lets another process handle requests with large bodies (``api/large_bodies``)."""

    def is_for(self, request: Request) -> bool: ...

    async def forward(self, request: Request) -> Response: ...


class JsonRequest(Request):
    """A request whose body must be JSON. FastAPI gets the validated body from it."""

    validated: Any = None

    async def read(self) -> bytes:
        """Read the body. Raises UnsupportedBody for other content types."""
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = b"".join([chunk async for chunk in self.stream()])
        # Browsers let a page of another site send text/plain and forms to a loopback address without a preflight
        # request, but not JSON.
        if body and content_type != "application/json" and not content_type.endswith("+json"):
            raise UnsupportedBody(f"Content-Type {content_type[:80]!r} is not supported; send application/json.")
        return body

    async def body(self) -> bytes:
        return b"" if self.validated is None else PLACEHOLDER

    async def json(self) -> Any:
        return self.validated


class JsonRoute(APIRoute):
    """A route that reads its body as a JsonRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle, field = super().get_route_handler(), self.body_field

        async def handle_json(request: Request) -> Response:
            _require_uncompressed(request)
            forwarder: BodyForwarder | None = request.app.state.large_bodies
            if field is not None and forwarder is not None and forwarder.is_for(request):
                return await forwarder.forward(request)
            json_request = JsonRequest(request.scope, request.receive)
            if field is not None and (body := await json_request.read()):
                json_request.validated = await _process(json_request, field, body)
                del body
            return await handle(json_request)

        return handle_json


def _require_uncompressed(request: Request) -> None:
    if (encoding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise UnsupportedBody(f"Content-Encoding {encoding[:40]!r} is not supported; send the body uncompressed.")


async def _process(request: Request, field: Any, body: bytes) -> Any:
    if len(body) <= INLINE_BYTES:
        return parse_and_validate(body, field)
    await request.state.held_body.begin_processing()
    shares: Shares = request.app.state.shares
    async with shares.parsers.hold(tenant_of(request.scope)):
        return await anyio.to_thread.run_sync(parse_and_validate, body, field, limiter=shares.parser_threads)


def parse_and_validate(body: bytes, field: Any) -> Any:
    """Return the validated body.

    Args:
        body: the bytes that the client sent.
        field: FastAPI's field of the route's body, which has the schema.

    Raises:
        Invalid: the body has too many values, or too many or too long names.
        RequestValidationError: it is no JSON, or it does not match its schema.
    """
    try:
        document = read_json(body)
    except JsonTooComplex as error:
        raise Invalid([error.problem]) from None
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", 0), "msg": "", "input": {}, "ctx": {"error": error.msg}}
        raise RequestValidationError([problem]) from None
    value, errors = field.validate(document, {}, loc=("body",))
    if errors:
        raise RequestValidationError(errors, body=document)
    return value
