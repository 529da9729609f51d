"""Who calls, and how often: before a byte of the body is read.

An ASGI middleware, because FastAPI parses a body before it looks at a dependency: nobody without a key may make the
service parse 32 MiB.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from api.errors.handlers import response_to
from api.middleware.rate_limit import Rates, Window
from jobs.errors import RateLimited, ThinkqueueError, Unauthorized
from jobs.tenants.api_keys import ANONYMOUS, ApiKey, ApiKeyStore

bearer = HTTPBearer(auto_error=False, description="An API key; needed when the service runs with AUTH=keys.")
documented = Security(bearer)
"""Does nothing but stand in the API's document; the middleware below checks."""


@dataclass(frozen=True)
class Authenticator:
    """Decides who comes in, and how often."""

    keys: ApiKeyStore
    rates: Rates

    def admit(self, authorization: str | None) -> tuple[ApiKey, Window | None]:
        """Raises Unauthorized, RateLimited, Unavailable."""
        scheme, _, token = (authorization or "").partition(" ")
        key = self.keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise Unauthorized
        return key, self.rates.hit(key)


class AuthMiddleware:
    """ASGI middleware for everything under ``/v1``: sets ``request.state.caller``.

    Without a doorkeeper everybody comes in, as one tenant.
    """

    def __init__(self, app: ASGIApp, *, doorkeeper: Authenticator | None) -> None:
        self._app = app
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[str, str] = {"x-request-id": f"req_{ULID()}"}
        send = _adding(headers, send)
        if scope["path"].startswith("/v1/"):
            try:
                authorization = Headers(scope=scope).get("authorization")
                key, window = await self._admit(authorization)
            except ThinkqueueError as error:
                if isinstance(error, RateLimited) and error.headers:
                    headers.update(error.headers)
                await response_to(error)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = key
            if window:
                headers.update(window.headers())
        await self._app(scope, receive, send)

    async def _admit(self, authorization: str | None) -> tuple[ApiKey, Window | None]:
        if self._doorkeeper is None:
            return ANONYMOUS, None
        return await run_in_threadpool(self._doorkeeper.admit, authorization)


async def caller(request: Request) -> ApiKey:
    """Whose request it is; a dependency. Async, because FastAPI would run it in a thread otherwise."""
    key: Any = request.state.caller
    assert isinstance(key, ApiKey)
    return key


def _adding(headers: dict[str, str], send: Send) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return adding
