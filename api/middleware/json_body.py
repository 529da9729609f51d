"""Parses request bodies as strict JSON, so everything that is stored can be written out again.

Python's own parser accepts NaN, lone surrogates and UTF-16. Such values would fail later, where the field is no longer
known. pydantic's parser refuses them, and also nesting deeper than 200 and integers of more than 4,300 digits.
"""

import codecs
import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException


class UnsupportedBody(HTTPException):
    """The body has another type or encoding than plain JSON.

    It is an HTTPException because FastAPI turns every other error raised while it reads a body into a plain 400.
    """

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)


class JsonRequest(Request):
    """A request whose body must be JSON."""

    async def body(self) -> bytes:
        """Read the body. Raises UnsupportedBody for other content types and for compressed bodies."""
        if (encoding := self.headers.get("content-encoding", "identity").lower()) != "identity":
            raise UnsupportedBody(f"Content-Encoding {encoding[:40]!r} is not supported; send the body uncompressed.")
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await super().body()
        # Browsers let a page of another site send text/plain and forms to a loopback address without a preflight
        # request, but not JSON.
        if body and content_type != "application/json" and not content_type.endswith("+json"):
            raise UnsupportedBody(f"Content-Type {content_type[:80]!r} is not supported; send application/json.")
        return body

    async def json(self) -> Any:
        """Parse the body. Raises JSONDecodeError."""
        return parse_json(await self.body())


class JsonRoute(APIRoute):
    """A route that reads its body as a JsonRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


def parse_json(body: bytes) -> Any:
    """Parse RFC 8259 JSON in UTF-8, with or without a byte order mark.

    Raises:
        JSONDecodeError: FastAPI turns no other error into a validation error. Its message has line and column.
    """
    try:
        return from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
