"""The listening socket of an api process, and the number of its connections, which leaves open files for other uses."""

import asyncio
import errno
import resource
import socket
import sys
import time
from typing import Any

import structlog
import uvicorn

from api.app import THREADS

UNACKNOWLEDGED_LIMIT_MS = 60_000
"""A connection is closed when sent data stays unacknowledged for this long."""
RESERVED_FILES = 64
"""For the process itself, probes, logs, and connections that were accepted a moment ago: an idle process has 25."""
FILES_PER_HANDLER = 3
"""A handler has a connection to the object store and two to Redis, one of them to count requests."""
ACCEPTED_AT_ONCE = 4
"""asyncio accepts up to this many connections before the first one is counted."""
BACKLOG = 2_048
"""Connections that the system holds until they are accepted."""
ACCEPT_LOG_INTERVAL_S = 10.0

log = structlog.get_logger(__name__)


def raise_open_files_limit() -> int:
    """Use all open files that the system permits, and return how many. The usual default is 1,024."""
    _, permitted = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (permitted, permitted))
    return permitted if permitted != resource.RLIM_INFINITY else sys.maxsize


def connection_limit(open_files: int) -> int:
    """Return how many connections of clients leave enough open files for what their requests need.

    At most ``THREADS`` requests are handled at the same time, and at most one for each connection.
    """
    few, many = (open_files - RESERVED_FILES) // (1 + FILES_PER_HANDLER), open_files - RESERVED_FILES
    return max(1, few, many - THREADS * FILES_PER_HANDLER)


def bind(config: uvicorn.Config) -> socket.socket:
    """Bind the socket of a server."""
    listener = config.bind_socket()
    # asyncio sets TCP_NODELAY only on sockets it created; without it bench/intake.py fell from 430 to 270 requests/s.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Connections inherit it. Without it, a connection whose client reads nothing stays open after a close.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_LIMIT_MS)
    return listener


class ApiServer(uvicorn.Server):
    """uvicorn's server, which accepts few connections at once and does not fill the log when files run out.

    Its configuration needs ``backlog=ACCEPTED_AT_ONCE``: asyncio uses that number both for the connections that it
    accepts in one step and for those that the system holds, which this class raises again.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(AcceptErrors().handle)
        await super().startup(sockets)
        if self.started:
            for listener in sockets or []:
                listener.listen(BACKLOG)


class AcceptErrors:
    """Logs once in a while that no file is left for a new connection. asyncio logs it for each attempt, with a trace.

    230 connections at ``ulimit -n 200`` wrote 76 MB within seconds.
    """

    def __init__(self) -> None:
        self._logged_at = -ACCEPT_LOG_INTERVAL_S

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error of the event loop."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._logged_at >= ACCEPT_LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            log.error("connections.no_open_files", detail=error.strerror)
