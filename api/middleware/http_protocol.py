"""Closes connections that send no complete request, on top of uvicorn's protocol, which waits for them without limit.

A client that opens connections and sends half a header in each would otherwise use up the open files of the process.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 10.0
"""Time from the start of a connection, or the end of a response, until the next request's headers are complete."""
MAX_IDLE_CONNECTIONS = 1_000
"""Connections without a request in progress. One more, and the oldest of the address with the most is closed."""


class IdleConnections:
    """The connections of a process that have no request in progress, oldest first."""

    def __init__(self, limit: int = MAX_IDLE_CONNECTIONS) -> None:
        self._limit = limit
        self._connections: dict[BoundedH11Protocol, None] = {}
        self._by_address: Counter[str] = Counter()

    def add(self, connection: "BoundedH11Protocol") -> None:
        self._connections[connection] = None
        self._by_address[connection.address] += 1
        if len(self._connections) > self._limit:
            self._oldest_of_busiest_address().close_idle()

    def remove(self, connection: "BoundedH11Protocol") -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def _oldest_of_busiest_address(self) -> "BoundedH11Protocol":
        """Prefer connections that have never sent a request: a client may be about to use one that has."""
        ((address, _),) = self._by_address.most_common(1)
        candidates = [connection for connection in self._connections if connection.address == address]
        return next((connection for connection in candidates if connection.cycle is None), candidates[0])


class BoundedH11Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with a limit on the time and the number of idle connections.

    uvicorn creates one for each connection. A subclass for each server, made by ``bounded_protocol``, has the list of
    idle connections.
    """

    idle: IdleConnections
    _header_timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._note_state()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note_state()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note_state()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def close_idle(self) -> None:
        """Close the connection; what it has sent of a request is dropped."""
        self._stop_timer()
        self.timeout_keep_alive_handler()

    def _note_state(self) -> None:
        has_request = self.cycle is not None and not self.cycle.response_complete
        if has_request or self.transport.is_closing():
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self.close_idle)
            self.idle.add(self)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
            self.idle.remove(self)


def bounded_protocol() -> type[asyncio.Protocol]:
    """Return the protocol class of one server."""
    attributes: dict[str, Any] = {"idle": IdleConnections()}
    return type("BoundedH11Protocol", (BoundedH11Protocol,), attributes)
