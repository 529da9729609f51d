"""How the egress client connects: which address of a host it uses."""

from collections.abc import Iterator
from contextlib import ExitStack
from socket import AF_INET, SOCK_STREAM, create_connection, socket

import pytest

from testing.egress import download, post, resolve_to
from testing.processes.http_server import HttpServer
from worker.egress.errors import TimedOut, Unreachable
from worker.egress.transport import MAX_ADDRESSES

CLOSED = "127.0.0.2"
"""The test's server listens on 127.0.0.1 only, so this address refuses connections to its port."""
SILENT = "127.0.0.3"


@pytest.fixture
def silent_address(http_server: HttpServer) -> Iterator[str]:
    """An address that drops connection requests to the server's port: its backlog is full and nothing accepts."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket(AF_INET, SOCK_STREAM))
        listener.bind((SILENT, http_server.port))
        listener.listen(0)
        try:
            for _ in range(16):
                sockets.enter_context(create_connection((SILENT, http_server.port), timeout=0.2))
        except TimeoutError:
            yield SILENT
        else:
            pytest.fail("the system accepts connections beyond the backlog")


@pytest.mark.parametrize("addresses", [(CLOSED, "127.0.0.1"), ("127.0.0.1", CLOSED)])
def test_a_host_is_reached_at_any_of_its_addresses(http_server: HttpServer, addresses: tuple[str, str]) -> None:
    http_server.answer("/a", body=b"picture")
    url = f"http://images.example:{http_server.port}/a"
    assert download(url, resolve=resolve_to(*addresses)) == b"picture"
    assert post(url, resolve=resolve_to(*addresses)).status == 200
    assert [received.headers["Host"] for received in http_server.received] == [f"images.example:{http_server.port}"] * 2
    assert http_server.received[1].body == b"{}"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(http_server: HttpServer, silent_address: str) -> None:
    http_server.answer("/a", body=b"picture")
    url = f"http://images.example:{http_server.port}/a"
    resolve = resolve_to(silent_address, "127.0.0.1")
    assert download(url, resolve=resolve, connect_timeout_s=2, timeout_s=30) == b"picture"


def test_a_host_without_a_reachable_address_is_unreachable(http_server: HttpServer) -> None:
    url = f"http://images.example:{http_server.port}/a"
    with pytest.raises(Unreachable):
        download(url, resolve=resolve_to(CLOSED, "127.0.0.4"))
    assert http_server.received == []


def test_the_connect_timeout_covers_all_addresses(http_server: HttpServer, silent_address: str) -> None:
    url = f"http://images.example:{http_server.port}/a"
    resolve = resolve_to(CLOSED, silent_address)
    with pytest.raises(TimedOut, match=r"within 0\.5 s"):
        download(url, resolve=resolve, connect_timeout_s=0.5, timeout_s=30)


def test_the_number_of_addresses_that_are_tried_is_bounded(http_server: HttpServer) -> None:
    http_server.answer("/a", body=b"picture")
    url = f"http://images.example:{http_server.port}/a"
    closed = [f"127.0.1.{number}" for number in range(1, MAX_ADDRESSES + 1)]
    assert download(url, resolve=resolve_to(*closed[1:], "127.0.0.1")) == b"picture"
    with pytest.raises(Unreachable):
        download(url, resolve=resolve_to(*closed, "127.0.0.1"))
