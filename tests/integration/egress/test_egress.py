"""The way out, against real servers on loopback; public names are played by the resolver, which is an argument."""

import asyncio
import gzip
import io
import ssl
import subprocess
import time
from collections.abc import Coroutine, Sequence
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from testing.http_server import HttpServer
from worker.egress.client import (
    BadStatus,
    EgressClient,
    EgressError,
    EgressResponse,
    ForbiddenUrl,
    InvalidUrl,
    TimedOut,
    TooLarge,
    TooManyRedirects,
    Unreachable,
    is_allowed,
)

LOOPBACK = (ip_network("127.0.0.0/8"),)
T = TypeVar("T")


def run(action: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(action)


async def fetch(url: str, *, allow: Sequence[Any] = LOOPBACK, max_bytes: int = 1_000, timeout_s: float = 5) -> bytes:
    async with EgressClient(allow) as egress:
        return await fetch_by(egress, url, max_bytes=max_bytes, timeout_s=timeout_s)


async def fetch_by(egress: EgressClient, url: str, *, max_bytes: int, timeout_s: float = 5) -> bytes:
    body = io.BytesIO()
    await egress.fetch(url, body, max_bytes=max_bytes, timeout_s=timeout_s)
    return body.getvalue()


async def post(url: str, *, allow: Sequence[Any] = LOOPBACK) -> EgressResponse:
    async with EgressClient(allow) as egress:
        return await egress.send("POST", url, body=b"{}", headers={"webhook-id": "evt_1"}, timeout_s=5)


async def resolve_as(*addresses: str) -> Any:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolve


def test_a_body_is_fetched(http_server: HttpServer) -> None:
    assert run(fetch(http_server.answer("/a.png", body=b"picture"))) == b"picture"
    headers = {name.lower(): value for name, value in http_server.received[0].headers.items()}
    assert headers["user-agent"].startswith("thinkqueue/")
    assert headers["host"] == f"127.0.0.1:{http_server.port}"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "224.0.0.1",
        "255.255.255.255",
        "localhost.",
    ],
)
def test_an_address_that_is_not_public_is_not_reached(http_server: HttpServer, host: str) -> None:
    http_server.answer("/", body=b"secret")
    with pytest.raises((ForbiddenUrl, InvalidUrl, Unreachable)):
        run(fetch(f"http://{host}:{http_server.port}/", allow=()))
    assert http_server.received == []


NOT_PUBLIC = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 168.63.129.16 169.254.169.254 172.31.0.1 192.0.0.8 192.0.0.192
    192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254
    64:ff9b:1::127.0.0.1 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 3fff::1
    2001:470::5efe:127.0.0.1 2001:470::200:5efe:10.0.0.1 100::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1
    ff02::1
"""
PUBLIC = "8.8.8.8 93.184.216.34 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1"


def test_which_addresses_are_public() -> None:
    """Whatever the Python: versions differ on several of these."""
    assert [address for address in NOT_PUBLIC.split() if is_allowed(address, ())] == []
    assert [address for address in PUBLIC.split() if not is_allowed(address, ())] == []


def test_a_named_network_is_reached_in_all_its_forms_and_no_other() -> None:
    assert all(is_allowed(address, LOOPBACK) for address in ("127.0.0.1", "::ffff:127.0.0.1"))
    assert not any(is_allowed(address, LOOPBACK) for address in ("10.0.0.1", "::1", "64:ff9b::a00:1"))


@pytest.mark.parametrize(
    "host",
    [
        "127\u30020\u30020\u30021",  # ideographic full stops
        "\uff11\uff12\uff17.0.0.1",  # wide digits
        "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",  # localhost in circles
        "127.0.0.1.",
        "127.0.0.1%00.example.com",
        "127.0.0.1%2eexample.com",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[fe80::1%25lo]",
        "[v1.fe80]",
        "017700000001",
        "0x7f.1",
        "127.0x0.1",
        "4294967297",
        "xn--",
        "a" * 64 + ".example.com",
        "a..b",
        "-",
        "\u202elocalhost",
    ],
)
def test_a_host_that_hides_what_it_is_reaches_nothing(http_server: HttpServer, host: str) -> None:
    http_server.answer("/", body=b"secret")
    with pytest.raises((ForbiddenUrl, InvalidUrl, Unreachable)):
        run(fetch(f"http://{host}:{http_server.port}/", allow=()))
    assert http_server.received == []


@pytest.mark.parametrize(
    "location",
    [
        "//10.0.0.1/",
        "http://[::1]/",
        "http://user@127.0.0.1/",
        "data:text/plain,hi",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://",
        "http://[/",
        "http://127.0.0.1:99999/",
        "javascript:alert(1)",
        "http://10.0.0.1\t/",
    ],
)
def test_a_redirect_leads_only_where_a_url_may(http_server: HttpServer, location: str) -> None:
    """Each hop is checked like the first; ours may go to loopback 127.0.0.0/8 only."""
    http_server.answer("/second", 307, location=location)
    with pytest.raises(EgressError):
        run(fetch(http_server.answer("/", 301, location="/second")))
    assert [received.path for received in http_server.received] == ["/", "/second"]


@pytest.mark.parametrize(
    "url", ["ftp://example.com/a", "file:///etc/passwd", "gopher://x/", "http://", "//host/a", "http://u:p@127.0.0.1/"]
)
def test_what_is_no_plain_web_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl):
        run(fetch(url))


def test_one_private_address_among_public_ones_is_enough() -> None:
    async def attempt() -> None:
        resolve = await resolve_as("93.184.216.34", "10.0.0.1")
        async with EgressClient((), resolve=resolve) as egress:
            await fetch_by(egress, "http://example.com/", max_bytes=1)

    with pytest.raises(ForbiddenUrl, match="EGRESS_ALLOW"):
        run(attempt())


def test_the_checked_address_is_the_one_that_is_reached(http_server: HttpServer) -> None:
    """DNS rebinding: asked a second time, the name would lead elsewhere. It is asked once for each request."""
    http_server.answer("/", body=b"public")
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async def attempt() -> bytes:
        async with EgressClient(LOOPBACK, resolve=resolve) as egress:
            url = f"http://pictures.example:{http_server.port}/"
            return await fetch_by(egress, url, max_bytes=100)

    assert run(attempt()) == b"public"
    assert asked == ["pictures.example"]
    assert http_server.received[0].headers["Host"] == f"pictures.example:{http_server.port}"


def test_a_redirect_to_a_private_address_is_not_followed(http_server: HttpServer) -> None:
    url = http_server.answer("/", 302, location="http://10.0.0.1/latest/meta-data")
    with pytest.raises(ForbiddenUrl, match=r"10\.0\.0\.1"):
        run(fetch(url))


def test_a_redirect_to_another_scheme_is_not_followed(http_server: HttpServer) -> None:
    with pytest.raises(InvalidUrl):
        run(fetch(http_server.answer("/", 302, location="file:///etc/passwd")))


def test_redirects_are_followed_up_to_five(http_server: HttpServer) -> None:
    http_server.answer("/end", body=b"there")
    for step in range(7):
        http_server.answer(f"/{step}", 302, location=f"/{step - 1}" if step else "/end")
    assert run(fetch(http_server.url("/4"))) == b"there"
    with pytest.raises(TooManyRedirects):
        run(fetch(http_server.url("/6")))


def test_more_bytes_than_allowed_are_not_read(http_server: HttpServer) -> None:
    sent = 0

    def endless(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        for _ in range(2_000):
            request.wfile.write(b"x" * 65_536)
            sent += 65_536

    http_server.answers["/endless"] = endless
    with pytest.raises(TooLarge, match="1000 bytes"):
        run(fetch(http_server.url("/endless")))
    assert sent < 2_000 * 65_536


def test_a_compressed_body_does_not_unfold_here(http_server: HttpServer) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    url = http_server.answer("/bomb", body=bomb, content_encoding="gzip")
    with pytest.raises(BadStatus, match="compressed"):
        run(fetch(url, max_bytes=100_000))


def test_a_slow_body_meets_the_time_limit(http_server: HttpServer) -> None:
    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(50):
            request.wfile.write(b".")
            request.wfile.flush()
            time.sleep(0.1)

    http_server.answers["/slow"] = slow
    with pytest.raises(TimedOut) as error:
        run(fetch(http_server.url("/slow"), timeout_s=0.5))
    assert error.value.retryable


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (403, False), (429, True), (500, True), (503, True)])
def test_a_bad_status_says_whether_trying_again_helps(http_server: HttpServer, status: int, retryable: bool) -> None:
    with pytest.raises(BadStatus, match=str(status)) as error:
        run(fetch(http_server.answer("/x", status)))
    assert error.value.retryable is retryable


def test_a_refused_connection_may_pass() -> None:
    with pytest.raises(Unreachable) as error:
        run(fetch("http://127.0.0.1:9/"))
    assert error.value.retryable


def test_a_connection_that_breaks_inside_the_body_is_no_body(http_server: HttpServer) -> None:
    def lie(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "500")
        request.end_headers()
        request.wfile.write(b"half")

    http_server.answers["/lie"] = lie
    with pytest.raises(Unreachable):
        run(fetch(http_server.url("/lie")))


def test_messages_do_not_tell_the_query_which_may_be_a_signature(http_server: HttpServer) -> None:
    with pytest.raises(BadStatus) as error:
        run(fetch(http_server.answer("/x", 404) + "?X-Amz-Signature=secret"))
    assert "secret" not in error.value.message
    assert "/x" in error.value.message


def test_a_post_takes_any_status_for_an_answer_and_follows_nothing(http_server: HttpServer) -> None:
    http_server.answer("/elsewhere")
    reply = run(post(http_server.answer("/hook", 307, body=b"moved " * 500, location="/elsewhere")))
    assert reply.status == 307
    assert len(reply.body_prefix) == 512
    assert [received.path for received in http_server.received] == ["/hook"]
    assert http_server.received[0].body == b"{}"


def test_a_post_to_a_private_address_is_not_made(http_server: HttpServer) -> None:
    with pytest.raises(ForbiddenUrl):
        run(post(http_server.url("/hook"), allow=()))
    assert http_server.received == []


def test_no_cookie_is_brought_from_one_request_to_the_next(http_server: HttpServer) -> None:
    http_server.answer("/set", set_cookie="who=tenant-a; Path=/")
    http_server.answer("/get")

    async def attempt() -> None:
        async with EgressClient(LOOPBACK) as egress:
            await fetch_by(egress, http_server.url("/set"), max_bytes=10)
            await fetch_by(egress, http_server.url("/get"), max_bytes=10)

    run(attempt())
    assert "cookie" not in {name.lower() for name in http_server.received[1].headers}


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


def test_tls_verifies_the_name_although_an_address_is_dialled(certificate: tuple[Path, Path]) -> None:
    key, cert = certificate

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async def attempt(host: str) -> bytes:
        theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.load_cert_chain(cert, key)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=theirs)
        port = server.sockets[0].getsockname()[1]
        ours = ssl.create_default_context(cafile=str(cert))
        try:
            async with EgressClient(LOOPBACK, resolve=await resolve_as("127.0.0.1"), verify=ours) as egress:
                return await fetch_by(egress, f"https://{host}:{port}/", max_bytes=10)
        finally:
            server.close()

    assert run(attempt("pictures.example")) == b"hi"
    with pytest.raises(Unreachable):
        run(attempt("another.example"))
