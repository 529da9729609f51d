"""How a request's body is read: as JSON of the strict kind, so that what is stored can be written out again.

Python's parser lets NaN, lone surrogates and UTF-16 pass; they would fail later, where nobody can name the field.
"""

import json
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnsupportedBody(HTTPException):
    """An HTTPException, because FastAPI turns every other error of a body's reading into a plain 400."""

    def __init__(self, message: str) -> None:
        super().__init__(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)


class JsonRequest(Request):
    async def body(self) -> bytes:
        """Raises UnsupportedBody, before it is read."""
        sent = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if (encoding := self.headers.get("content-encoding", "identity").lower()) != "identity":
            raise UnsupportedBody(f"Content-Encoding is {encoding[:40]!r}; send the body as it is.")
        body = await super().body()
        # A page of another site may send text/plain and forms to a loopback address without being asked, JSON not.
        if body and sent != "application/json" and not sent.endswith("+json"):
            raise UnsupportedBody(f"Content-Type is {sent[:80]!r}; send application/json.")
        return body

    async def json(self) -> Any:
        """Raises JSONDecodeError."""
        return parse(await self.body())


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return strict


def parse(body: bytes) -> Any:
    """RFC 8259, and I-JSON's rule (RFC 7493) that every string is Unicode. Raises JSONDecodeError."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("it is not UTF-8", "", error.start) from None
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise json.JSONDecodeError("a number has too many digits", "", 0) from None
    if found := SURROGATE.search(text):
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise json.JSONDecodeError("half of a surrogate pair stands alone", "", found.start()) from None
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no JSON number", "", 0)
