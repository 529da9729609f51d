"""Bounds the size and the duration of a request's body while it arrives, and the memory of all large bodies.

The ``Content-Length`` header may be missing or wrong, so the received bytes are counted.
"""

import asyncio
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors.handlers import BodyTooLarge, BodyTooSlow
from api.middleware.fairness.fair_share import FairShare, tenant_of

SMALL_BYTES = 256 * 1024
"""Bodies up to this size are not counted."""
STREAMED_BYTES = 16 * 2**20
"""Memory that counts for a body which is passed on to the object store while it arrives, in parts of half this size."""
HELD_BODY = "held_body"
"""Where a request's state has its ``HeldBody``."""


class HeldBody:
    """The share of a request's body in the memory for large bodies, and its turn to be processed."""

    def __init__(self, share: FairShare, processing: FairShare, tenant: str) -> None:
        self._share = share
        self._processing = processing
        self._tenant = tenant
        self._units = 0
        self._is_processed = False

    async def acquire(self, size: int) -> None:
        """Wait for memory, once. Raises TooManyBodies."""
        if not self._units:
            self._units = await self._share.acquire(self._tenant, size)

    async def begin_processing(self) -> None:
        """Wait until a large body may be parsed, decoded and stored. Raises TooManyBodies."""
        if self._units and not self._is_processed:
            await self._processing.acquire(self._tenant)
            self._is_processed = True

    def release(self) -> None:
        """Return memory and turn. Call it when nothing refers to the body any more; further calls do nothing."""
        units, self._units = self._units, 0
        if units:
            self._share.release(self._tenant, units)
        if self._is_processed:
            self._is_processed = False
            self._processing.release(self._tenant, 1)


class BodyLimitMiddleware:
    """ASGI middleware that raises BodyTooLarge, BodyTooSlow or TooManyBodies where the body is read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        timeout_s: float,
        bodies: FairShare,
        processing: FairShare,
        streamed: Mapping[str, int] | None = None,
    ) -> None:
        """
        Args:
            streamed: the largest body of paths whose bodies are passed on while they arrive. They may take as much
                longer as they may be larger.
        """
        self._app = app
        self._streamed = streamed or {}
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._bodies = bodies
        self._processing = processing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = HeldBody(self._bodies, self._processing, tenant_of(scope))
        scope.setdefault("state", {})[HELD_BODY] = held
        reader = self._reader(scope, receive, held)

        async def send_and_note(message: Message) -> None:
            reader.is_answered = True
            await send(message)

        try:
            await self._app(scope, reader.receive, send_and_note)
        finally:
            held.release()

    def _reader(self, scope: Scope, receive: Receive, held: HeldBody) -> "_BodyReader":
        announced, max_bytes = announced_bytes(scope), self._max_bytes
        streamed_bytes = self._streamed.get(scope["path"]) if scope.get("method") == "POST" else None
        if streamed_bytes is None:
            return _BodyReader(receive, held, announced, max_bytes, self._timeout_s, held_bytes=max_bytes)
        timeout_s = self._timeout_s * max(1.0, streamed_bytes / max_bytes)
        return _BodyReader(receive, held, announced, streamed_bytes, timeout_s, held_bytes=STREAMED_BYTES)


class _BodyReader:
    """Receives the body of one request within the limits."""

    def __init__(
        self,
        receive: Receive,
        held: HeldBody,
        announced: int | None,
        max_bytes: int,
        timeout_s: float,
        *,
        held_bytes: int,
    ) -> None:
        self._receive = receive
        self._held = held
        self._announced = announced
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._held_bytes = held_bytes
        """Memory that the body takes at most."""
        self._received = 0
        self._deadline: float | None = None
        self._is_complete = False
        self.is_answered = False
        """The response has started: nobody reads the body, and no other response can follow."""

    async def receive(self) -> Message:
        while not (self._is_complete or self.is_answered):
            try:
                return await self._receive_within_limits()
            except HTTPException:
                if not self.is_answered:
                    raise
        # The route does not read the body, and waits for the client's disconnect, which has no time limit.
        message = await self._receive()
        self._received += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._received > self._max_bytes else message

    async def _receive_within_limits(self) -> Message:
        if self._deadline is None:
            if self._announced and self._announced > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            if self._announced and self._announced > SMALL_BYTES and not self.is_answered:
                await self._held.acquire(min(self._announced, self._held_bytes))
            # Not earlier: an event stream first looks up its job, and then reads its empty body to learn of a
            # disconnect. 58 of 200 streams broke when that took longer than the limit on a busy machine.
            self._deadline = time.monotonic() + self._timeout_s
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            raise BodyTooSlow(self._timeout_s) from None
        self._is_complete = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        if self._received > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)
        if self._received > SMALL_BYTES and not self.is_answered:
            await self._held.acquire(self._held_bytes)  # its length was not announced, or is wrong
        return message


def announced_bytes(scope: Scope) -> int | None:
    """Return the value of ``Content-Length``; None without one."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None
