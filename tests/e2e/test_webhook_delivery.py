"""Webhook delivery by a real keeper to receivers that fail in every way."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from jobs.model.job import Stage
from jobs.model.retry_schedule import MAX_ATTEMPTS
from testing.api import HELLO
from testing.processes.http_server import HttpServer
from testing.processes.servers import Servers
from testing.processes.service import Service, started_service
from testing.processes.waiting import LIMIT_S
from testing.table import completed

SCALE = 0.00002
"""Shortens the schedule of three days to six seconds."""


@pytest.fixture(scope="module")
def delivering(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API and a keeper, without workers."""
    settings = {"WEBHOOK_SCHEDULE_SCALE": str(SCALE), "WEBHOOK_TIMEOUT_S": "2"}
    folder = tmp_path_factory.mktemp("delivering")
    with started_service(servers, "webhooks", folder, "pocket", "api", "keeper", **settings) as service:
        yield service


def ended_job(service: Service, url: str) -> str:
    """Complete a job with a webhook, in the place of the workers; returns its id."""
    job_id = service.submit(**HELLO, callback={"url": url})
    for stage in Stage:
        claimed = service.table.claim(stage)
        assert claimed is not None
        if stage is Stage.PREPARE:
            service.table.store.mark_prepared(job_id, claimed.job.claim, folder="a1-x", required_tokens=1)
        else:
            service.table.finalizer.finalize(completed(claimed.job), expect="owner")
    return job_id


def delivery_of(service: Service, job_id: str) -> dict[str, Any]:
    (delivery,) = service.http.get(f"/v1/jobs/{job_id}/deliveries").raise_for_status().json()["data"]
    return dict(delivery)


def settled(service: Service, job_id: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
    service.wait_until(lambda: delivery_of(service, job_id)["state"] != "pending", "the end of the delivery", limit_s)
    return delivery_of(service, job_id)


def reset(request: BaseHTTPRequestHandler) -> None:
    """Close the connection with a TCP reset."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def send_slowly(request: BaseHTTPRequestHandler) -> None:
    """Send a reply byte by byte until the client gives up."""
    request.wfile.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5000\r\n\r\n")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.1)


def test_a_receiver_that_recovers_gets_the_webhook_once(delivering: Service, http_server: HttpServer) -> None:
    http_server.answer("/moved", 200)
    http_server.stall("/stalled")
    replies: list[Any] = [503, reset, http_server.answers["/stalled"], send_slowly, 302, 429]

    def reply(request: BaseHTTPRequestHandler) -> None:
        status = replies.pop(0) if replies else 204
        if not isinstance(status, int):
            status(request)
            return
        request.send_response(status)
        request.send_header("content-length", "4")
        request.send_header("location", http_server.url("/moved"))
        request.end_headers()
        if status != 204:
            request.wfile.write(b"busy")

    http_server.answers["/hook"] = reply
    job_id = ended_job(delivering, http_server.url("/hook"))
    delivery = settled(delivering, job_id)
    assert delivery["state"] == "delivered"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, None, None, 500, 302, 429, 204]
    assert delivery["attempts"][0]["reply"] == "", "not shown: the address is not public"
    assert all(attempt["error"] for attempt in delivery["attempts"] if attempt["status"] is None)
    assert {received.path for received in http_server.received} == {"/hook"}, "redirects are not followed"
    assert {received.headers["webhook-id"] for received in http_server.received} == {f"evt_{job_id}_completed"}
    assert len({received.headers["webhook-timestamp"] for received in http_server.received}) > 1
    assert delivering.job(job_id)["status"] == "completed"


def test_delivery_is_abandoned_at_a_410_and_at_the_end_of_the_schedule(
    delivering: Service, http_server: HttpServer
) -> None:
    gone = settled(delivering, ended_job(delivering, http_server.answer("/gone", 410)))
    assert (gone["state"], len(gone["attempts"])) == ("abandoned", 1)
    never = settled(delivering, ended_job(delivering, http_server.answer("/never", 500)))
    assert (never["state"], len(never["attempts"])) == ("abandoned", MAX_ATTEMPTS)


def test_retry_after_is_respected(delivering: Service, http_server: HttpServer) -> None:
    retry_after = [str(round(2 / SCALE))]

    def later(request: BaseHTTPRequestHandler) -> None:
        request.send_response(429 if retry_after else 204)
        if retry_after:
            request.send_header("retry-after", retry_after.pop())
        request.send_header("content-length", "0")
        request.end_headers()

    http_server.answers["/later"] = later
    settled(delivering, ended_job(delivering, http_server.url("/later")))
    first, second = (int(received.headers["webhook-timestamp"]) for received in http_server.received)
    # At most a day: 86,400 s, which is 1.7 s at this scale.
    assert second - first >= 1


def test_a_delivery_is_repeated_on_request(delivering: Service, http_server: HttpServer) -> None:
    job_id = ended_job(delivering, http_server.answer("/hook", 410))
    delivery = settled(delivering, job_id)
    http_server.answer("/hook", 204)
    url = f"/v1/jobs/{job_id}/deliveries/{delivery['id']}/redeliver"
    reply = delivering.http.post(url)
    assert (reply.status_code, reply.json()["state"]) == (202, "pending")
    again = settled(delivering, job_id)
    assert (again["state"], [attempt["status"] for attempt in again["attempts"]]) == ("delivered", [410, 204])
    assert {received.headers["webhook-id"] for received in http_server.received} == {delivery["id"]}
    other = ended_job(delivering, http_server.url("/hook"))
    for wrong in (f"/v1/jobs/{other}/deliveries/{delivery['id']}/redeliver", f"{url[:-10]}x/redeliver"):
        reply = delivering.http.post(wrong)
        assert (reply.status_code, reply.json()["code"]) == (404, "delivery_not_found")
    assert delivering.http.get("/v1/jobs/job_none/deliveries").json()["code"] == "job_not_found"


@contextmanager
def silent_host() -> Iterator[str]:
    """A second host, which accepts connections and never replies."""
    with socket.create_server(("127.0.0.2", 0), backlog=256) as listener:
        yield f"http://127.0.0.2:{listener.getsockname()[1]}/hook"


def test_a_burst_of_webhooks_to_one_host_is_delivered(delivering: Service, http_server: HttpServer) -> None:
    url = http_server.answer("/hook", 204)
    for _ in range(60):
        ended_job(delivering, url)
    delivering.wait_until(lambda: len(http_server.received) >= 60, "all webhooks")
    ids = [received.headers["webhook-id"] for received in http_server.received]
    assert len(set(ids)) == len(ids) == 60
    assert {json.loads(received.body)["type"] for received in http_server.received} == {"job.completed"}


def test_a_stalled_host_does_not_delay_another(isolated_service: Service, http_server: HttpServer) -> None:
    """The webhook to the good host arrives while every attempt at the silent one still waits."""
    isolated_service.start("api", "keeper", WEBHOOK_TIMEOUT_S="45")
    isolated_service.wait_for_workers(keeper=1)
    with silent_host() as silent:
        stalled = [ended_job(isolated_service, silent) for _ in range(100)]
        url = http_server.answer("/hook")
        ended_job(isolated_service, url)
        isolated_service.wait_until(lambda: http_server.received, "the webhook")
        assert not any(delivery_of(isolated_service, job_id)["attempts"] for job_id in stalled)


def test_a_draining_keeper_releases_its_attempts_to_another(isolated_service: Service, http_server: HttpServer) -> None:
    isolated_service.start("api")
    isolated_service.start("keeper", WEBHOOK_TIMEOUT_S="45")
    isolated_service.wait_for_workers(keeper=1)
    requested = http_server.stall("/hook")
    job_id = ended_job(isolated_service, http_server.url("/hook"))
    assert requested.wait(60)
    http_server.answer("/hook", 204)
    isolated_service.start("keeper2")
    isolated_service.wait_for_workers(keeper=2)
    assert isolated_service.drain("keeper") == [0]
    # Well before the claim of the first keeper expires, after a minute.
    assert settled(isolated_service, job_id, limit_s=30)["state"] == "delivered"
