"""ASGI middleware that counts requests by route and status."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime import metrics

UNKNOWN = "unknown"
"""One label for all paths that do not exist: they are the callers' to invent."""


class MetricsMiddleware:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", None) or self._unrouted(scope)
                method = scope["method"] if route != UNKNOWN else UNKNOWN
                metrics.REQUESTS.labels(method, route, str(message["status"])).inc()
                metrics.REQUEST_SECONDS.labels(method, route).observe(time.monotonic() - started)
            await send(message)

        await self._app(scope, receive, counting)

    @staticmethod
    def _unrouted(scope: Scope) -> str:
        """Turned away at the door, before it was known where it would go."""
        return "/v1" if scope["path"].startswith("/v1/") else UNKNOWN
