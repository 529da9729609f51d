"""Malformed requests, absent servers: a real api process replies in time, with a clear error, and never crashes."""

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from testing.api import HELLO
from testing.processes.servers import Servers
from testing.processes.service import Service
from testing.processes.waiting import LIMIT_S, TIME_SCALE
from testing.sse import events_of

CALLERS = 240
STREAMS = 200
REPLY_LIMIT_S = 10.0
"""A caller waits about 2 s for a server that does not answer. If its 40 threads took callers one after the other, the
API would need 12 s for the last one."""


@pytest.fixture
def api(isolated_service: Service) -> Service:
    isolated_service.start("api", BODY_TIMEOUT_S="1", MAX_BODY_BYTES="1000000")
    isolated_service.wait_for_workers()
    return isolated_service


def with_field(name: str, value: str) -> bytes:
    return b'{"messages": [{"role": "user", "content": "Hi."}], "' + f'{name}": {value}}}'.encode()


def with_url(url: str) -> bytes:
    part = {"type": "image_url", "image_url": {"url": url}}
    return json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()


BODIES = {
    "no number": with_field("sampling", '{"temperature": NaN}'),
    "too large a number": with_field("sampling", '{"temperature": 1e400}'),
    "huge integer": with_field("sampling", '{"seed": ' + "9" * 5_000 + "}"),
    "large integer": with_field("thinking", '{"budget_tokens": ' + "9" * 40 + "}"),
    "bool for a number": with_field("max_answer_tokens", "true"),
    "lone surrogate": with_field("metadata", r'{"k": "\ud800"}'),
    "lone surrogate as a field": with_field(r"\ud800", "1"),
    "lone surrogate in a URL": with_url("https://example.com/\ud800"),
    "deep nesting": b"[" * 50_000 + b"]" * 50_000,
    "deep metadata": with_field("metadata", '{"a": ' * 50_000 + "1" + "}" * 50_000),
    "UTF-16": with_field("priority", '"low"').decode().encode("utf-16"),
    "not UTF-8": with_field("metadata", '{"k": "\xff"}').decode().encode("latin-1"),
    "header in a URL": with_url("https://example.com/\r\nHost: other"),
    "header in a callback": with_field("callback", r'{"url": "https://example.com/\r\nX: y"}'),
    "password in a URL": with_url("https://user:password@example.com/"),
    "other scheme": with_url("file:///etc/passwd"),
    "base64 that is none": with_url("data:image/png;base64,%%%"),
    "upload of another tenant": with_url("upload:../../requests/x"),
    "too long a text": json.dumps({"messages": [{"role": "user", "content": "x" * 500_000}]}).encode(),
    "many faults": b"{" + b",".join(b'"f%d": 1' % number for number in range(20_000)) + b"}",
    "many messages": b'{"messages": [' + b",".join([b"1"] * 100_000) + b"]}",
    "a list": b"[]",
    "null": b"null",
    "nothing": b"",
    "half": b'{"messages": [',
    "too large": b" " * 1_000_001,
}


def test_no_body_crashes_the_intake_and_each_reply_names_the_problem(api: Service) -> None:
    headers = {"Content-Type": "application/json"}
    for name, body in BODIES.items():
        reply = api.http.post("/v1/jobs", content=body, headers=headers)
        assert reply.status_code in (400, 413, 422), (name, reply.text[:300])
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        assert problem["error"]["message"] == problem["detail"], name
        assert len(reply.content) < 10_000, name
    assert "password" not in api.log("api")
    assert "crashed" not in api.log("api")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_a_page_of_another_site_could_send_is_refused(api: Service, kind: str) -> None:
    reply = api.http.post("/v1/jobs", content=json.dumps(HELLO), headers={"Content-Type": kind})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


def test_malformed_headers_paths_and_queries_get_an_error_reply(api: Service) -> None:
    for key in ("", '""', "x" * 256):
        reply = api.http.post("/v1/jobs", json=HELLO, headers={"Idempotency-Key": key})
        assert reply.json()["errors"][0]["pointer"] == "header:Idempotency-Key"
    bytes_key: Any = {b"Idempotency-Key": b"\xff\xfe\xe9"}
    ids = {api.http.post("/v1/jobs", json=HELLO, headers=bytes_key).json()["id"] for _ in range(2)}
    assert len(ids) == 1
    for path in ("jobs/%00", "jobs/%ff", "jobs/job_%0d%0aX", "webhook_deliveries/%0a", "models/a/b", "nothing"):
        assert api.http.get(f"/v1/{path}").status_code == 404, path
    for query in ("limit=0", "limit=" + "9" * 300, "created_from=nan", "created_from=1e400", "status=x", "after=%00"):
        reply = api.http.get(f"/v1/jobs?{query}")
        assert reply.status_code == 422, query
        assert reply.json()["errors"][0]["pointer"] == "query:" + query.partition("=")[0]
    assert api.http.get("/v1/jobs?created_from=0001-01-01").status_code == 200
    reply = api.http.put("/v1/jobs", json={})
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD, POST")


def test_a_body_that_does_not_arrive_or_is_too_large_is_refused(api: Service) -> None:
    for head in ("Content-Length: 100", "Transfer-Encoding: chunked"):
        with connected(api) as line:
            start = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f"{start}{head}\r\n\r\n".encode())
            assert b" 408 " in line.recv(100)
    with connected(api) as line:
        # The Content-Length is wrong; the limit applies to the bytes that arrive.
        line.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        line.sendall(b"Content-Length: 99999999999\r\n\r\n")
        chunk = bytes(65_536)
        try:
            for _ in range(20):
                line.sendall(chunk)
        except OSError:
            pass  # the server has closed the connection
        assert b" 413 " in line.recv(100)
    assert api.submit(**HELLO)


@pytest.mark.parametrize("head", ["Content-Length: 100", "Content-Length: 900000", "Transfer-Encoding: chunked"])
def test_a_client_that_leaves_before_its_body_has_arrived_is_no_crash(api: Service, head: str) -> None:
    for _ in range(5):
        with connected(api) as line:
            start = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f'{start}{head}\r\n\r\n9\r\n{{"messag'.encode())
    assert api.submit(**HELLO)
    assert api.drain("api") == [0]
    log = api.log("api")
    assert "request.crashed" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("server", "code"), [("valkey", "store_unavailable"), ("seaweedfs", "object_store_unavailable")]
)
def test_all_callers_get_a_503_in_time_while_a_server_is_suspended(
    api: Service, servers: Servers, server: str, code: str
) -> None:
    """More callers than threads: a caller must not wait for the calls before it."""
    limits = httpx.Limits(max_connections=None)
    http = httpx.Client(base_url=api.url, timeout=REPLY_LIMIT_S, limits=limits, verify=False)

    def post(_: int) -> tuple[int, str]:
        reply = http.post("/v1/jobs", json=HELLO)
        return reply.status_code, reply.json().get("code", "")

    with http, ThreadPoolExecutor(CALLERS) as pool:
        servers.processes[server].send_signal(signal.SIGSTOP)
        stopped = psutil.Process(servers.processes[server].pid)
        api.wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED, f"{server} is suspended")
        try:
            assert set(pool.map(post, range(CALLERS))) == {(503, code)}
            health = api.http.get("/healthz", timeout=REPLY_LIMIT_S)
            ready = api.http.get("/readyz", timeout=REPLY_LIMIT_S)
        finally:
            servers.processes[server].send_signal(signal.SIGCONT)
    assert (health.status_code, ready.status_code) == (503, 200)
    api.wait_until(lambda: api.http.post("/v1/jobs", json=HELLO).status_code == 202, "jobs are accepted again")


def test_hundreds_of_idle_streams_do_not_block_submissions(api: Service) -> None:
    job_id = api.submit(**HELLO)
    opened: set[int] = set()

    def follow(number: int) -> str:
        """Return the type of the event that ends the stream."""
        while True:
            with httpx.stream("GET", f"{api.url}/v1/jobs/{job_id}/events", timeout=LIMIT_S, verify=False) as reply:
                if reply.status_code == 503:  # a busy machine: Redis or the object store took too long
                    continue
                assert reply.status_code == 200, reply.read()
                for event in events_of(reply):
                    opened.add(number)
                    if event.id is not None:
                        return event.event
            raise AssertionError("the stream ended before its job")

    pool = ThreadPoolExecutor(STREAMS)
    try:
        followers = [pool.submit(follow, number) for number in range(STREAMS)]
        api.wait_until(
            lambda: len(opened) == STREAMS or any(follower.done() for follower in followers), "all streams are open"
        )
        assert [follower.result() for follower in followers if follower.done()] == []
        for _ in range(20):
            api.submit(**HELLO)
        assert api.http.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelled"
        ends = [follower.result(LIMIT_S * TIME_SCALE) for follower in followers]
    finally:
        pool.shutdown(wait=False)  # the end of the API ends the remaining streams
    assert ends == ["job.cancelled"] * STREAMS


@contextmanager
def connected(api: Service) -> Iterator[socket.socket]:
    address = urlsplit(api.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=5) as line:
        yield line
