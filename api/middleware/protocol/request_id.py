"""Gives every request an id: in the response's ``x-request-id``, in every log line and in every error body.

asgi-correlation-id keeps the id in a context variable, which anyio copies into the threads that run the handlers.
"""

import re
from typing import Any

from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.types import ASGIApp
from structlog.typing import EventDict
from ulid import ULID

from api.errors.handlers import REQUEST_ID_HEADER

CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""The ids accepted from clients. Others are replaced: they would end up in logs and error bodies as they are."""


class RequestIdMiddleware(CorrelationIdMiddleware):
    """ASGI middleware that uses the client's ``x-request-id`` if it is well-formed and generates one otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        # A validator would log a warning for each bad header, and let anyone fill the log; the transformer replaces
        # the id silently.
        super().__init__(
            app,
            header_name=REQUEST_ID_HEADER,
            update_request_header=False,
            generator=_new_id,
            validator=None,
            transformer=_replace_malformed,
        )


def add_request_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add the current request's id to a log line; a structlog processor."""
    if request_id := correlation_id.get():
        event["request_id"] = request_id
    return event


def _new_id() -> str:
    return f"req_{ULID()}"


def _replace_malformed(request_id: str) -> str:
    return request_id if CLIENT_ID.fullmatch(request_id) else _new_id()
