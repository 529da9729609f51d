"""Delays the refusals of a client that goes on sending calls that are refused.

A refusal costs about as much processor time as many accepted calls, and a client that repeats refused calls at once
would take that time from other tenants. The delay costs an open connection only.
"""

import asyncio
from collections import Counter

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.fairness.fair_share import tenant_of

WINDOW_S = 10
DELAY_S = 1.0
MAX_DELAYED = 200
"""Delayed refusals of one client at the same time; more are sent at once."""


class RefusalPacer:
    """Delays refusals of one process, by client. To be used from one event loop."""

    def __init__(self, prompt_refusals: int) -> None:
        """
        Args:
            prompt_refusals: refusals of one client within ``WINDOW_S`` that are sent at once.
        """
        self._prompt = RateLimitItemPerSecond(prompt_refusals, WINDOW_S)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._delayed: Counter[str] = Counter()

    def is_prompt(self, client: str) -> bool:
        """Count a refusal, and return whether it is sent at once."""
        return self._limiter.hit(self._prompt, client) or self._delayed[client] >= MAX_DELAYED

    async def pace(self, client: str) -> None:
        """Return when a refusal may be sent."""
        if self.is_prompt(client):
            return
        self._delayed[client] += 1
        try:
            await asyncio.sleep(DELAY_S)
        finally:
            self._delayed[client] -= 1
            if not self._delayed[client]:
                del self._delayed[client]


class RefusalPacingMiddleware:
    """ASGI middleware that paces responses of status 4xx, by tenant; without a valid key, by the client's address."""

    def __init__(self, app: ASGIApp, *, prompt_refusals: int) -> None:
        self._app = app
        self._pacer = RefusalPacer(prompt_refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_paced(message: Message) -> None:
            if message["type"] == "http.response.start" and 400 <= message["status"] < 500:
                await self._pacer.pace(_client(scope))
            await send(message)

        await self._app(scope, receive, send_paced)


def _client(scope: Scope) -> str:
    if tenant := tenant_of(scope):
        return f"tenant {tenant}"
    client = scope.get("client")
    return f"address {client[0]}" if client else "address"
