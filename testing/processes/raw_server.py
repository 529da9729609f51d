"""A TCP server on loopback that answers each request with chosen bytes, for replies that are not valid HTTP."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Reply = Callable[[socket.socket], None]


def send(*pieces: bytes) -> Reply:
    """Send the pieces, then close the connection."""

    def reply(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return reply


def send_and_reset(data: bytes) -> Reply:
    """Send the data, then reset the connection."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return reply


def send_and_hold(data: bytes, piece: bytes = b"", *, pause_s: float = 0.05) -> Reply:
    """Send the data, then ``piece`` again and again until the client closes the connection."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.settimeout(pause_s)
        for _ in range(int(60 / pause_s)):
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    return
            connection.sendall(piece)

    return reply


@contextmanager
def raw_server(
    reply: Reply, context: ssl.SSLContext | None = None, *, reads: bool = True, host: str = "127.0.0.1"
) -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a free port. Yields the port and the list of requests that arrived.

    Args:
        reply: answers a connection after its request, which must have a Content-Length or no body, has arrived.
        context: serve TLS.
        reads: wait for the request before the reply.
        host: the address to listen on; empty: all of this machine's IPv4 addresses.
    """
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            wrapped = context.wrap_socket(connection, server_side=True) if context else connection
            with wrapped:
                if reads:
                    requests.append(_read_request(wrapped))
                reply(wrapped)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server((host, 0), backlog=256) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    while lengths and len(body) < int(lengths[0]):
        body += _receive(connection)
    return head


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionResetError
    return data
