"""Downloads and posts of the egress client, against a real server on loopback."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from testing.egress import download, post
from testing.processes.http_server import HttpServer
from worker.egress.errors import BadStatus, TimedOut, TooLarge, Unreachable


def test_a_body_is_downloaded(http_server: HttpServer) -> None:
    assert download(http_server.answer("/a.png", body=b"picture")) == b"picture"
    headers = {name.lower(): value for name, value in http_server.received[0].headers.items()}
    assert headers["user-agent"].startswith("thinkqueue/")
    assert headers["host"] == f"127.0.0.1:{http_server.port}"


def test_a_body_is_read_up_to_its_limit(http_server: HttpServer) -> None:
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
        download(http_server.url("/endless"))
    assert sent < 2_000 * 65_536


def test_a_compressed_body_is_refused(http_server: HttpServer) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    url = http_server.answer("/bomb", body=bomb, content_encoding="gzip")
    with pytest.raises(BadStatus, match="compressed"):
        download(url, max_bytes=100_000)


def test_a_slow_body_times_out(http_server: HttpServer) -> None:
    """Each chunk comes soon after the one before it, so only a limit for the whole request ends the download."""
    done = threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not done.wait(0.1):
            request.wfile.write(b".")
            request.wfile.flush()

    http_server.answers["/slow"] = slow
    try:
        with pytest.raises(TimedOut) as error:
            download(http_server.url("/slow"), timeout_s=0.5)
    finally:
        done.set()
    assert error.value.retryable


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (403, False), (429, True), (500, True), (503, True)])
def test_a_bad_status_says_whether_a_retry_may_help(http_server: HttpServer, status: int, retryable: bool) -> None:
    with pytest.raises(BadStatus, match=str(status)) as error:
        download(http_server.answer("/x", status))
    assert error.value.retryable is retryable


def test_a_refused_connection_is_retryable() -> None:
    with pytest.raises(Unreachable) as error:
        download("http://127.0.0.1:9/")
    assert error.value.retryable


def test_an_incomplete_body_is_an_error(http_server: HttpServer) -> None:
    def break_off(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "500")
        request.end_headers()
        request.wfile.write(b"half")

    http_server.answers["/half"] = break_off
    with pytest.raises(Unreachable):
        download(http_server.url("/half"))


def test_messages_omit_the_query_which_may_be_a_signature(http_server: HttpServer) -> None:
    with pytest.raises(BadStatus) as error:
        download(http_server.answer("/x", 404) + "?X-Amz-Signature=secret")
    assert "secret" not in error.value.message
    assert "/x" in error.value.message


def test_a_post_returns_any_status_and_follows_no_redirect(http_server: HttpServer) -> None:
    http_server.answer("/elsewhere")
    response = post(http_server.answer("/hook", 307, body=b"moved " * 500, location="/elsewhere"))
    assert response.status == 307
    assert len(response.body_prefix) == 512
    assert [received.path for received in http_server.received] == ["/hook"]
    assert http_server.received[0].body == b"{}"


def test_no_cookie_is_kept_between_requests(http_server: HttpServer) -> None:
    http_server.answer("/set", set_cookie="who=tenant-a; Path=/")
    http_server.answer("/get")
    download(http_server.url("/set"), http_server.url("/get"))
    assert [received.path for received in http_server.received] == ["/set", "/get"]
    assert "cookie" not in {name.lower() for name in http_server.received[1].headers}
