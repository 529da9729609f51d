"""Counts and times requests by route and status."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.telemetry import metrics

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""All others are counted as ``other``: a client may send any word as its method."""
WAITED = (b"preference-applied", b"wait=")
"""A response header, and how its value starts if the call waited for the end of a job."""
UNKNOWN = "unknown"
"""One label for all paths without a route: clients could otherwise create any number of labels."""


def has_waited(response: Message) -> bool:
    """Return whether the response came after a wait that the client asked for.

    The header says it also where the process for large bodies answered the request.
    """
    name, start = WAITED
    return any(key.lower() == name and value.startswith(start) for key, value in response.get("headers", ()))


class MetricsMiddleware:
    """ASGI middleware that records each response when it starts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", None) or self._unrouted_label(scope)
                method = scope["method"] if scope["method"] in METHODS else "other"
                method = UNKNOWN if route == UNKNOWN else method
                metrics.REQUESTS.labels(method, route, str(message["status"])).inc()
                seconds = metrics.WAIT_SECONDS if has_waited(message) else metrics.REQUEST_SECONDS
                seconds.labels(method, route).observe(time.monotonic() - started)
            await send(message)

        await self._app(scope, receive, send_and_record)

    @staticmethod
    def _unrouted_label(scope: Scope) -> str:
        """Return the label of a request that was answered before routing, for example without a valid API key."""
        return "/v1" if scope["path"].startswith("/v1/") else UNKNOWN
