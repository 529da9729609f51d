"""Passes the caller and the request id, which the api process has checked, on to the process for large bodies."""

import json
from dataclasses import asdict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors.handlers import REQUEST_ID_HEADER
from jobs.tenants.api_key import ApiKey

CALLER_HEADER = "x-thinkqueue-caller"
NOT_FORWARDED = {CALLER_HEADER, "authorization", "connection", "expect", "host", REQUEST_ID_HEADER}


def forwarded_headers(headers: Headers, caller: ApiKey, request_id: str) -> list[tuple[str, str]]:
    """Return the headers of a request to the process for large bodies."""
    kept = [(name, value) for name, value in headers.items() if name not in NOT_FORWARDED]
    return [*kept, (CALLER_HEADER, json.dumps(asdict(caller))), (REQUEST_ID_HEADER, request_id)]


class ForwardedCallerMiddleware:
    """ASGI middleware that sets ``request.state.caller`` as the api process says.

    Only that process can connect: the socket is in a folder that no other user may enter.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            fields = json.loads(Headers(scope=scope)[CALLER_HEADER])
            scope.setdefault("state", {})["caller"] = ApiKey.from_fields(fields)
        await self._app(scope, receive, send)
