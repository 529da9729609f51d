"""Starts the process for large bodies, restarts it when it ends, and forwards requests to it."""

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus

import httpx
import structlog
from asgi_correlation_id import correlation_id
from fastapi import Request, Response

from api.errors.handlers import REQUEST_ID_HEADER
from api.large_bodies.caller import forwarded_headers
from api.middleware.input.body_limit import HELD_BODY, SMALL_BYTES, HeldBody, announced_bytes
from jobs.errors import AcceptanceUnknown, TooManyBodies
from runtime.process.child import run_child
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

RESTART_PAUSE_S = 1.0
REPLY_LIMIT_S = 150.0
"""Longer than any request may take: 60 s until there is memory, 60 s of ``Prefer: wait``, and the work itself."""
MAX_CONNECTIONS = 64
BACKLOG = 128
RETRY_AFTER_S = 10
NOT_RETURNED = {"connection", "content-length", "date", "transfer-encoding", REQUEST_ID_HEADER}


class LargeBodyProcess:
    """Starts with the first large body, and again when it has ended. Belongs to the event loop of the api process.

    This process owns the listening socket, so requests wait for a process that starts.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="thinkqueue-api-")
        # The path of a Unix socket has at most 107 bytes, and that of the folder for temporary files may be longer.
        self._folder_descriptor = os.open(self._folder.name, os.O_RDONLY | os.O_DIRECTORY)
        path = f"/proc/self/fd/{self._folder_descriptor}/large-bodies"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(BACKLOG)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=path, limits=httpx.Limits(max_connections=MAX_CONNECTIONS)),
            timeout=REPLY_LIMIT_S,
        )
        self._supervision: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """End the process and remove its socket."""
        if self._supervision:
            self._supervision.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervision
        await self._client.aclose()
        self._listener.close()
        os.close(self._folder_descriptor)
        self._folder.cleanup()

    @staticmethod
    def is_for(request: Request) -> bool:
        """Return whether the body of a request is large, or of unknown length."""
        length = announced_bytes(request.scope)
        return "transfer-encoding" in request.headers if length is None else length > SMALL_BYTES

    async def forward(self, request: Request) -> Response:
        """Let the other process answer a request.

        Raises:
            TooManyBodies: no connection to it became free in time; nothing was accepted.
            AcceptanceUnknown: it ended while it handled the request.
            HTTPException: the body is too large or too slow.
        """
        if self._supervision is None:
            self._supervision = asyncio.create_task(self._supervise())
        headers = forwarded_headers(request.headers, request.state.caller, correlation_id.get() or "")
        target = request.scope["raw_path"] + b"?" + request.scope["query_string"]
        url = httpx.URL("http://large-bodies").copy_with(raw_path=target)
        try:
            reply = await self._client.send(
                self._client.build_request(request.method, url, headers=headers, content=_body(request))
            )
        except httpx.PoolTimeout as error:
            raise TooManyBodies(retry_after_s=RETRY_AFTER_S) from error
        except httpx.TransportError as error:
            log.warning("large_bodies.reply_lost", error=type(error).__name__)
            raise AcceptanceUnknown from error
        return _response(reply)

    async def _supervise(self) -> None:
        descriptor = self._listener.fileno()
        while True:
            try:
                status: object = await run_child("api.handle_large_bodies", str(descriptor), descriptors=[descriptor])
            except OSError as error:  # without a new try, requests would wait
                status = str(error)
            log.error("large_bodies.ended", status=status)
            await asyncio.sleep(RESTART_PAUSE_S)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    finally:
        # The other process has it now, and limits its own memory.
        held: HeldBody = request.scope["state"][HELD_BODY]
        held.release()


def _response(reply: httpx.Response) -> Response:
    if reply.status_code >= HTTPStatus.BAD_REQUEST:
        with suppress(ValueError, KeyError, TypeError):
            metrics.REFUSALS.labels(json.loads(reply.content)["code"]).inc()
    headers = {name: value for name, value in reply.headers.items() if name not in NOT_RETURNED}
    return Response(reply.content, reply.status_code, headers)
