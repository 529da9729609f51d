"""Cookies stay within one request and its redirects, and go to the host that set them only."""

import asyncio
import io
import threading
from http.server import BaseHTTPRequestHandler

from testing.egress import LOOPBACK, download, resolve_to
from testing.processes.http_server import HttpServer
from worker.egress.client import EgressClient


def reply(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("content-length", "0")
    request.end_headers()


def cookies_of(http_server: HttpServer) -> dict[str, str]:
    return {received.path: received.headers.get("Cookie", "") for received in http_server.received}


def test_a_cookie_of_a_redirect_reaches_its_target(http_server: HttpServer) -> None:
    http_server.answer("/first", 302, location="/second", set_cookie="consent=1; Path=/")
    http_server.answer("/second", 302, location="/third", set_cookie="seen=2")
    http_server.answer("/third", body=b"file")
    assert download(http_server.url("/first")) == b"file"
    assert cookies_of(http_server)["/second"] == "consent=1"
    assert sorted(cookies_of(http_server)["/third"].split("; ")) == ["consent=1", "seen=2"]


def test_no_cookie_is_kept_between_requests(http_server: HttpServer) -> None:
    http_server.answer("/set", set_cookie="who=tenant-a; Path=/")
    http_server.answer("/get")
    download(http_server.url("/set"), http_server.url("/get"))
    assert cookies_of(http_server) == {"/set": "", "/get": ""}


def test_parallel_requests_of_one_client_keep_their_own_cookies(http_server: HttpServer) -> None:
    """Every first request has set its cookie before any second one is sent."""
    count = 6
    all_have_begun = threading.Barrier(count, timeout=30)

    def begin(request: BaseHTTPRequestHandler) -> None:
        number = request.path.rpartition("/")[2]
        all_have_begun.wait()
        reply(request, 302, location=f"/end/{number}", set_cookie=f"who={number}; Path=/")

    for number in range(count):
        http_server.answers[f"/begin/{number}"] = begin
        http_server.answer(f"/end/{number}")

    async def run() -> None:
        async with EgressClient(LOOPBACK) as egress:
            urls = [http_server.url(f"/begin/{number}") for number in range(count)]
            await asyncio.gather(*(egress.download(url, io.BytesIO(), max_bytes=10, timeout_s=20) for url in urls))

    asyncio.run(run())
    found = cookies_of(http_server)
    assert {path: found[path] for path in found if "end" in path} == {f"/end/{n}": f"who={n}" for n in range(count)}


def test_a_cookie_never_goes_to_another_host(http_server: HttpServer) -> None:
    """Neither by its ``Domain``, nor because two names lead to the same address."""
    port = http_server.port
    seen: list[tuple[str, str]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        host = request.headers["Host"].partition(":")[0]
        seen.append((host, request.headers.get("Cookie", "")))
        step = len(seen)
        hosts = ["a.site.example", "b.site.example", "site.example", "a.site.example"]
        if step == len(hosts):
            reply(request, 200)
            return
        request.send_response(302)
        for cookie in (f"plain{step}=1; Path=/", f"wide{step}=1; Domain=site.example", f"dot{step}=1; Domain=.example"):
            request.send_header("set-cookie", cookie)
        request.send_header("location", f"http://{hosts[step]}:{port}/")
        request.send_header("content-length", "0")
        request.end_headers()

    http_server.answers["/"] = answer
    download(f"http://a.site.example:{port}/", resolve=resolve_to("127.0.0.1"))
    assert [host for host, _ in seen] == ["a.site.example", "b.site.example", "site.example", "a.site.example"]
    assert [cookies for _, cookies in seen[:3]] == ["", "", ""]
    assert "plain1=1" in seen[3][1]
    assert not any(f"{name}{step}" in seen[3][1] for name in ("plain", "wide", "dot") for step in (2, 3))
