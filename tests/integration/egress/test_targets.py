"""Which URLs and redirects the egress client follows, against a real server on loopback."""

from collections.abc import Sequence

import pytest

from testing.egress import LOOPBACK, download, post, resolve_to
from testing.processes.http_server import HttpServer
from worker.egress.errors import EgressError, ForbiddenUrl, InvalidUrl, TooManyRedirects, Unreachable


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
        download(f"http://{host}:{http_server.port}/", allow=())
    assert http_server.received == []


@pytest.mark.parametrize(
    "host",
    [
        "127\u30020\u30020\u30021",  # ideographic full stops
        "\uff11\uff12\uff17.0.0.1",  # full-width digits
        "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",  # localhost in circled letters
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
def test_an_obfuscated_host_is_not_reached(http_server: HttpServer, host: str) -> None:
    http_server.answer("/", body=b"secret")
    with pytest.raises((ForbiddenUrl, InvalidUrl, Unreachable)):
        download(f"http://{host}:{http_server.port}/", allow=())
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
def test_every_redirect_is_checked_like_the_first_url(http_server: HttpServer, location: str) -> None:
    """The client of this test may reach 127.0.0.0/8 only."""
    http_server.answer("/second", 307, location=location)
    with pytest.raises(EgressError):
        download(http_server.answer("/", 301, location="/second"))
    assert [received.path for received in http_server.received] == ["/", "/second"]


@pytest.mark.parametrize(
    "url", ["ftp://example.com/a", "file:///etc/passwd", "gopher://x/", "http://", "//host/a", "http://u:p@127.0.0.1/"]
)
def test_only_plain_http_and_https_urls_are_accepted(url: str) -> None:
    with pytest.raises(InvalidUrl):
        download(url)


def test_one_private_address_among_public_ones_refuses_the_url() -> None:
    with pytest.raises(ForbiddenUrl, match="EGRESS_ALLOW"):
        download("http://example.com/", allow=(), resolve=resolve_to("93.184.216.34", "10.0.0.1"))


def test_one_private_address_after_a_reachable_one_refuses_the_url(http_server: HttpServer) -> None:
    http_server.answer("/", body=b"secret")
    with pytest.raises(ForbiddenUrl):
        download(f"http://images.example:{http_server.port}/", resolve=resolve_to("127.0.0.1", "10.0.0.1"))
    assert http_server.received == []


def test_a_name_is_resolved_once_and_the_checked_address_is_reached(http_server: HttpServer) -> None:
    """DNS rebinding: a second lookup would return another address."""
    http_server.answer("/", body=b"public")
    lookups: list[str] = []

    async def resolve(host: str, _port: int, _owner: str) -> Sequence[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["10.0.0.1"]

    assert download(f"http://pictures.example:{http_server.port}/", resolve=resolve, allow=LOOPBACK) == b"public"
    assert lookups == ["pictures.example"]
    assert http_server.received[0].headers["Host"] == f"pictures.example:{http_server.port}"


def test_a_redirect_to_a_private_address_is_not_followed(http_server: HttpServer) -> None:
    url = http_server.answer("/", 302, location="http://10.0.0.1/latest/meta-data")
    with pytest.raises(ForbiddenUrl, match=r"10\.0\.0\.1"):
        download(url)


def test_a_redirect_to_another_scheme_is_not_followed(http_server: HttpServer) -> None:
    with pytest.raises(InvalidUrl):
        download(http_server.answer("/", 302, location="file:///etc/passwd"))


def test_at_most_five_redirects_are_followed(http_server: HttpServer) -> None:
    http_server.answer("/end", body=b"there")
    for step in range(7):
        http_server.answer(f"/{step}", 302, location=f"/{step - 1}" if step else "/end")
    assert download(http_server.url("/4")) == b"there"
    with pytest.raises(TooManyRedirects):
        download(http_server.url("/6"))


def test_nothing_is_posted_to_a_private_address(http_server: HttpServer) -> None:
    with pytest.raises(ForbiddenUrl):
        post(http_server.url("/hook"), allow=())
    assert http_server.received == []
