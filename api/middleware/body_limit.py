"""The bounds on a request's body, held while it comes in: a length in the header may be missing or a lie."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors.handlers import BodyTooLarge, BodyTooSlow


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen, give_up, is_reconciled = 0, time.monotonic() + self._timeout_s, False

        async def counted() -> Message:
            nonlocal seen, is_reconciled
            if is_reconciled:
                return await receive()  # the client's leaving, which may take as long as it likes
            try:
                message = await asyncio.wait_for(receive(), max(0.0, give_up - time.monotonic()))
            except TimeoutError:
                raise BodyTooSlow(self._timeout_s) from None
            is_reconciled = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            return message

        await self._app(scope, counted, send)
