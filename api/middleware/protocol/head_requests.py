"""Answers HEAD like GET without the body, on every route, and ignores a slash at the end of a path."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """ASGI middleware that turns HEAD requests into GET requests and drops the body of the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/docs/" and len(scope["path"]) > 1:
            # A redirect would lose the body of a POST in some clients.
            scope["path"] = scope["path"].removesuffix("/")
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        inner = {**scope, "method": "GET"}
        has_ended = asyncio.Event()

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "route" in inner:
                    scope["route"] = inner["route"]  # for the metrics
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                has_ended.set()

        async def receive_or_end() -> Message:
            """Report a disconnect after the response: it ends event streams."""
            received, ended = asyncio.ensure_future(receive()), asyncio.ensure_future(has_ended.wait())
            try:
                await asyncio.wait((received, ended), return_when=asyncio.FIRST_COMPLETED)
                return await received if received.done() else {"type": "http.disconnect"}
            finally:
                received.cancel()
                ended.cancel()

        await self._app(inner, receive_or_end, send_head)
