"""Downloads and posts of the egress client, against a real server on loopback."""

import threading
from http.server import BaseHTTPRequestHandler

import pytest

from testing.egress import download, post
from testing.processes.http_server import HttpServer
from worker.egress.errors import BadStatus, EgressError, TimedOut, TooLarge, Unreachable
from worker.egress.transport import Target


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


def test_messages_contain_scheme_and_host_of_a_url_only(http_server: HttpServer) -> None:
    """Its path may be a secret, as in chat webhooks, and its query a signature."""
    url = http_server.answer("/services/T0/secret", 404) + "?X-Amz-Signature=secret"
    with pytest.raises(BadStatus) as error:
        download(url)
    assert error.value.message == f"http://127.0.0.1:{http_server.port} responded with status 404."
    http_server.answer("/away", 302, location="http://10.0.0.1/secret")
    for secret in (url.replace("http:", "https:"), http_server.url("/away"), "http://10.0.0.1/secret"):
        with pytest.raises(EgressError) as failure:
            download(secret)
        assert "secret" not in failure.value.message


def test_a_post_returns_any_status_and_follows_no_redirect(http_server: HttpServer) -> None:
    http_server.answer("/elsewhere")
    response = post(http_server.answer("/hook", 307, body=b"moved " * 500, location="/elsewhere"))
    assert response.status == 307
    assert response.headers["location"] == "/elsewhere"
    assert [received.path for received in http_server.received] == ["/hook"]
    assert http_server.received[0].body == b"{}"


def test_the_body_of_a_response_is_kept_for_public_addresses_only(http_server: HttpServer) -> None:
    """A page inside the operator's network is not for the client whose webhook reached it."""
    url = http_server.answer("/hook", body=b"internal " * 100)
    assert post(url).body_prefix == b""
    target = Target(("127.0.0.1",), is_public=True)
    assert post(url, target=target).body_prefix == (b"internal " * 100)[:512]
