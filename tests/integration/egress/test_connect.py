"""How the egress client connects: which address of a host it uses, and which certificate it accepts."""

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, create_connection, socket

import pytest

from testing.egress import LOOPBACK, download, post, resolve_to
from testing.processes.http_server import HttpServer
from worker.egress.client import EgressClient
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=pictures.example "
        f"-addext subjectAltName=DNS:pictures.example -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True, timeout=30)
    return key, cert


def test_the_certificate_must_be_valid_for_the_host_name(certificate: tuple[Path, Path]) -> None:
    """The client connects to an IP address but verifies the name of the URL."""
    key, cert = certificate

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async def status_of(host: str) -> int:
        server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_context.load_cert_chain(cert, key)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context)
        port = server.sockets[0].getsockname()[1]
        client_context = ssl.create_default_context(cafile=str(cert))
        try:
            async with EgressClient(LOOPBACK, resolve=resolve_to("127.0.0.1"), verify=client_context) as egress:
                response = await egress.send("PUT", f"https://{host}:{port}/", body=b"", headers={}, timeout_s=5)
                assert response.body_prefix == b"hi"
                return response.status
        finally:
            server.close()

    assert asyncio.run(status_of("pictures.example")) == 200
    with pytest.raises(Unreachable):
        asyncio.run(status_of("another.example"))
