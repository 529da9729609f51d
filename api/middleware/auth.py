"""Checks the API key and the request rate before the body is read.

This is ASGI middleware because FastAPI parses the body before it resolves dependencies: a client without a key could
make the service parse 32 MiB.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors.handlers import error_response
from api.middleware.rate_limit import RateLimiter, RateLimitState
from jobs.errors import RateLimited, ThinkqueueError, Unauthorized
from jobs.tenants.api_keys import ANONYMOUS, TOKEN, ApiKey, ApiKeyStore

bearer_auth = Security(
    HTTPBearer(
        auto_error=False,
        scheme_name="apiKey",
        description="An API key, sent as `Authorization: Bearer tq_…`. Required with `AUTH=keys`.",
    )
)
"""Documents the scheme in OpenAPI; the middleware below does the check."""


@dataclass(frozen=True)
class Authenticator:
    """Finds the API key of a request and applies its rate limit."""

    keys: ApiKeyStore
    rate_limiter: RateLimiter

    def authenticate(self, authorization: str | None) -> tuple[ApiKey, RateLimitState | None]:
        """Return the key of an ``Authorization`` header, and count the request.

        Raises:
            Unauthorized: there is no valid key.
            RateLimited: the key has used up its requests per minute.
            Unavailable: Redis or the object store does not answer.
        """
        scheme, _, token = (authorization or "").partition(" ")
        key = self.keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise Unauthorized(_why_unauthorized(authorization, scheme, token.strip()))
        return key, self.rate_limiter.hit(key)


class AuthMiddleware:
    """ASGI middleware for all paths under ``/v1``: sets ``request.state.caller``.

    Without an authenticator every request is accepted, as one tenant.
    """

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator | None) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            key, rate_limit = await self._authenticate(Headers(scope=scope).get("authorization"))
        except ThinkqueueError as error:
            headers = error.headers if isinstance(error, RateLimited) else {}
            await error_response(error)(scope, receive, _with_headers(send, headers))
            return
        scope.setdefault("state", {})["caller"] = key
        await self._app(scope, receive, _with_headers(send, rate_limit.headers()) if rate_limit else send)

    async def _authenticate(self, authorization: str | None) -> tuple[ApiKey, RateLimitState | None]:
        if self._authenticator is None:
            return ANONYMOUS, None
        return await run_in_threadpool(self._authenticator.authenticate, authorization)


def _why_unauthorized(authorization: str | None, scheme: str, token: str) -> str:
    """Say whether the key is missing, malformed or unknown, without repeating any part of it."""
    if not authorization or not authorization.strip():
        return "No API key was sent; send `Authorization: Bearer tq_…`."
    if scheme.lower() != "bearer":
        return "The Authorization header does not start with `Bearer `; send `Authorization: Bearer tq_…`."
    if not token:
        return "The Authorization header has no API key after `Bearer `; send `Authorization: Bearer tq_…`."
    if not TOKEN.fullmatch(token):
        return (
            "The API key is malformed: a key has 24 to 200 visible characters and no spaces; "
            "check that it was copied as a whole."
        )
    return "The API key is not known here, was revoked or has expired; ask the operator for a new one."


async def caller(request: Request) -> ApiKey:
    """Return the API key of the request; a dependency. Async, because FastAPI runs sync dependencies in a thread."""
    key: Any = request.state.caller
    assert isinstance(key, ApiKey)
    return key


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
