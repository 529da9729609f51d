"""Closes connections that send no complete request, on top of uvicorn's protocol, which waits for them without limit.

A client that opens connections and sends half a header in each would otherwise use up the open files of the process.
"""

import asyncio
from collections import Counter
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.errors.handlers import error_response
from jobs.errors import TooManyConnections

HEADER_TIMEOUT_S = 10.0
"""Time from the start of a connection, or the end of a response, until the next request's headers are complete."""
MAX_IDLE_CONNECTIONS = 1_000
"""Connections without a request in progress, at most half of all. One more, and the oldest of the address with the most
is closed."""
DEFAULT_MAX_CONNECTIONS = 10_000
RETRY_AFTER_S = 5


class Connections:
    """The connections of a process, and those that have no request in progress, oldest first."""

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: connections at the same time. One more takes the place of an idle one; without one, its request is
                refused with TooManyConnections.
        """
        self._limit = limit
        self._max_idle = max(1, min(MAX_IDLE_CONNECTIONS, limit // 2))
        self._open: set[BoundedH11Protocol] = set()
        self._idle: dict[BoundedH11Protocol, None] = {}
        self._by_address: Counter[str] = Counter()

    def open(self, connection: "BoundedH11Protocol") -> bool:
        """Count a new connection. Returns whether its requests may be answered."""
        if len(self._open) >= self._limit and self._idle:
            self._oldest_of_busiest_address().close_idle()
        self._open.add(connection)
        return len(self._open) <= self._limit

    def close(self, connection: "BoundedH11Protocol") -> None:
        self._open.discard(connection)
        self.remove_idle(connection)

    def add_idle(self, connection: "BoundedH11Protocol") -> None:
        self._idle[connection] = None
        self._by_address[connection.address] += 1
        if len(self._idle) > self._max_idle:
            self._oldest_of_busiest_address().close_idle()

    def remove_idle(self, connection: "BoundedH11Protocol") -> None:
        if connection in self._idle:
            del self._idle[connection]
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def _oldest_of_busiest_address(self) -> "BoundedH11Protocol":
        """Prefer connections that have never sent a request: a client may be about to use one that has."""
        ((address, _),) = self._by_address.most_common(1)
        candidates = [connection for connection in self._idle if connection.address == address]
        return next((connection for connection in candidates if connection.cycle is None), candidates[0])


class BoundedH11Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with a limit on the time and the number of idle connections.

    uvicorn creates one for each connection. A subclass for each server, made by ``bounded_protocol``, has their list.
    """

    open_connections: Connections
    _header_timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self.open_connections.open(self):
            self.app = _refuse_connection
        self._note_state()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note_state()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note_state()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.open_connections.close(self)
        super().connection_lost(exc)

    def close_idle(self) -> None:
        """Close the connection; what it has sent of a request is dropped."""
        self._stop_timer()
        self.open_connections.close(self)
        self.timeout_keep_alive_handler()

    def _note_state(self) -> None:
        has_request = self.cycle is not None and not self.cycle.response_complete
        if has_request or self.transport.is_closing():
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self.close_idle)
            self.open_connections.add_idle(self)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
            self.open_connections.remove_idle(self)


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(TooManyConnections(retry_after_s=RETRY_AFTER_S))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def bounded_protocol(max_connections: int = DEFAULT_MAX_CONNECTIONS) -> type[asyncio.Protocol]:
    """Return the protocol class of one server, which has at most this many connections."""
    attributes: dict[str, Any] = {"open_connections": Connections(max_connections)}
    return type("BoundedH11Protocol", (BoundedH11Protocol,), attributes)
