"""Bounds the size and the duration of a request's body while it arrives.

The ``Content-Length`` header may be missing or wrong, so the received bytes are counted.
"""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors.handlers import BodyTooLarge, BodyTooSlow


class BodyLimitMiddleware:
    """ASGI middleware that raises BodyTooLarge or BodyTooSlow where the body is read."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, is_complete = 0, False
        deadline: float | None = None

        async def receive_within_limits() -> Message:
            nonlocal received, deadline, is_complete
            if is_complete:
                return await receive()  # waits for the client's disconnect, which has no time limit
            if deadline is None:
                # Not earlier: an event stream first looks up its job, and then reads its empty body to learn of a
                # disconnect. 58 of 200 streams broke when that took longer than the limit on a busy machine.
                deadline = time.monotonic() + self._timeout_s
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise BodyTooSlow(self._timeout_s) from None
            is_complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            return message

        await self._app(scope, receive_within_limits, send)
