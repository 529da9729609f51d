"""Checks the API key, its scopes and the request rate before the body is read.

This is ASGI middleware because FastAPI parses the body before it resolves dependencies: a client without a key could
make the service parse 32 MiB.
"""

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors.handlers import error_response
from api.middleware.access.scopes import AUTOSCALE_PATH, require_scope
from api.middleware.fairness.fair_share import NO_TENANT, FairShare
from api.middleware.fairness.rate_limit import RateLimiter, RateLimitState, UnknownKeyLimit
from api.middleware.fairness.request_pacing import RequestPacer
from jobs.errors import RateLimited, ThinkqueueError, TooManyUnknownKeys, Unauthorized
from jobs.tenants.api_key import ANONYMOUS, ApiKey
from jobs.tenants.api_keys import TOKEN, ApiKeyStore

bearer_auth = Security(
    HTTPBearer(
        auto_error=False,
        scheme_name="apiKey",
        description="An API key, sent as `Authorization: Bearer tq_…`. Required with `AUTH=keys`.",
    )
)
"""Documents the scheme in OpenAPI; the middleware below does the check."""


AUTOSCALER = ApiKey(id="", tenant="_autoscale", name="AUTOSCALE_KEY", priorities=(), scopes=("autoscale",))
"""The caller with ``AUTOSCALE_KEY``. No tenant can have this name."""
UNKNOWN_KEY = "The API key is not known here, was revoked or has expired; ask the operator for a new one."


@dataclass(frozen=True)
class Authenticator:
    """Finds the API key of a request and applies its rate limit."""

    keys: ApiKeyStore
    rate_limiter: RateLimiter
    unknown_keys: UnknownKeyLimit
    lookups: FairShare
    _listing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def authenticate(self, authorization: str | None, address: str) -> tuple[ApiKey, RateLimitState]:
        """Return the key of an ``Authorization`` header, and count the request.

        Args:
            authorization: the header.
            address: the client's address.

        Raises:
            Unauthorized: there is no valid key.
            TooManyUnknownKeys: the address has sent too many keys that do not exist.
            Unavailable: Redis or the object store does not answer.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or (is_known := self.keys.is_known(token)) is False:
            raise Unauthorized(_why_unauthorized(authorization, scheme, token))
        if is_known is None and self.unknown_keys.is_reached(address):
            is_known = await self._is_listed(token)
            if is_known is False:
                raise TooManyUnknownKeys(retry_after_s=self.unknown_keys.retry_after_s)
        # Callers with unknown keys share one turn, so that they cannot delay those with a key.
        async with self.lookups.hold(token if is_known else NO_TENANT):
            if is_known:
                return await run_in_threadpool(self._find_and_count, token)
            return await run_in_threadpool(self._find_unknown, token, address)

    async def _is_listed(self, token: str) -> bool | None:
        """Say whether a token has a key, from a list that is read at most every ten seconds; None: it is not there.

        Only the first caller waits for the list, as long as an older one exists.
        """
        if self.keys.is_list_due() and (not self._listing.locked() or self.keys.is_listed(token) is None):
            async with self._listing:
                await run_in_threadpool(self.keys.refresh_list)
        return self.keys.is_listed(token)

    def _find_unknown(self, token: str, address: str) -> tuple[ApiKey, RateLimitState]:
        if self.unknown_keys.is_reached(address):
            if self.keys.find(token, is_cached=True) is None:
                raise TooManyUnknownKeys(retry_after_s=self.unknown_keys.retry_after_s)
        elif self.keys.find(token) is None:
            self.unknown_keys.count(address)
        return self._find_and_count(token)

    def _find_and_count(self, token: str) -> tuple[ApiKey, RateLimitState]:
        if (key := self.keys.find(token)) is None:
            raise Unauthorized(UNKNOWN_KEY)
        return key, self.rate_limiter.hit(key)


class AuthMiddleware:
    """ASGI middleware for all paths under ``/v1``: sets ``request.state.caller``.

    Without an authenticator every request is accepted, as one tenant.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator | None, autoscale_key: SecretStr | None = None
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._pacer = RequestPacer()
        self._autoscale_key = autoscale_key.get_secret_value().encode() if autoscale_key else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            key, rate_limit = await self._authenticate(scope)
            scope.setdefault("state", {})["caller"] = key
            if rate_limit:
                rate_limit.require_allowed()
                interval_s = rate_limit.window_s / rate_limit.limit
                await self._pacer.pace(key.tenant, key.id, interval_s, method=scope["method"])
            require_scope(key, scope["method"], scope["path"])
        except ThinkqueueError as error:
            headers = error.headers if isinstance(error, RateLimited) else {}
            await error_response(error)(scope, receive, _with_headers(send, headers))
            return
        await self._app(scope, receive, _with_headers(send, rate_limit.headers()) if rate_limit else send)

    async def _authenticate(self, scope: Scope) -> tuple[ApiKey, RateLimitState | None]:
        if self._authenticator is None:
            return ANONYMOUS, None
        authorization = Headers(scope=scope).get("authorization")
        if self._is_autoscaler(scope, authorization):
            return AUTOSCALER, None
        client = scope.get("client")
        return await self._authenticator.authenticate(authorization, str(client[0]) if client else "")

    def _is_autoscaler(self, scope: Scope, authorization: str | None) -> bool:
        """Whether the request is one that ``AUTOSCALE_KEY`` permits. Nothing is looked up."""
        if not self._autoscale_key or scope["path"] != AUTOSCALE_PATH or scope["method"] not in ("GET", "HEAD"):
            return False
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._autoscale_key)


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
    return UNKNOWN_KEY


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
