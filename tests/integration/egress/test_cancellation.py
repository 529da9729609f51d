"""Requests that are cancelled, as those of a keeper that stops, leave no connection open."""

import asyncio
import gc
import socket
import threading
import warnings
from contextlib import suppress

from testing.egress import LOOPBACK
from worker.egress.client import EgressClient

REQUESTS, ROUNDS = 64, 20
ANSWERS = (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")


def answer(server: socket.socket) -> None:
    """Answer every connection at once, some of them in part."""
    connections = []
    with suppress(OSError):
        for number in range(REQUESTS * ROUNDS):
            connection, _ = server.accept()
            connections.append(connection)
            with suppress(OSError):
                connection.sendall(ANSWERS[number % len(ANSWERS)])
    for connection in connections:
        connection.close()


async def send_and_cancel(port: int, *, after_s: float) -> None:
    """Send requests a little apart, and cancel those that are not done after a time: each is at another point."""
    async with EgressClient(LOOPBACK) as egress:

        async def send(number: int) -> None:
            await asyncio.sleep(number * after_s / REQUESTS)
            await egress.send("POST", f"http://127.0.0.1:{port}/", body=b"{}", headers={}, timeout_s=30)

        tasks = [asyncio.create_task(send(number)) for number in range(REQUESTS)]
        await asyncio.sleep(after_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_cancelled_requests_leave_no_connection_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=REQUESTS) as server,
        warnings.catch_warnings(record=True, action="always") as found,
    ):
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        for number in range(ROUNDS):
            asyncio.run(send_and_cancel(server.getsockname()[1], after_s=0.002 * (1 + number)))
        gc.collect()
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert [str(warning.message) for warning in found if "unclosed" in str(warning.message)] == []
