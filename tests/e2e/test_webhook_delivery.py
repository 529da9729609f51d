"""Webhooks by a real keeper, through receivers as bad as they come."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from jobs.model.job import Stage
from jobs.model.retry_schedule import MAX_ATTEMPTS
from testing.api import HELLO
from testing.http_server import HttpServer
from testing.service import Service
from testing.table import completed

SCALE = 0.00002
"""The schedule's three days in six seconds."""


@pytest.fixture
def keeping(isolated_service: Service) -> Service:
    isolated_service.start("api", "keeper", WEBHOOK_SCHEDULE_SCALE=str(SCALE), WEBHOOK_TIMEOUT_S="1")
    isolated_service.wait_for_workers(keeper=1)
    return isolated_service


def ended_job(service: Service, url: str) -> str:
    """A job that has just completed, with a webhook; no worker is needed for that."""
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


def settled(service: Service, job_id: str) -> dict[str, Any]:
    service.wait_until(lambda: delivery_of(service, job_id)["state"] != "pending", "settled delivery")
    return delivery_of(service, job_id)


def reset(request: BaseHTTPRequestHandler) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def stall(request: BaseHTTPRequestHandler) -> None:
    time.sleep(2)


def drip(request: BaseHTTPRequestHandler) -> None:
    """An answer that goes on and on: each piece in time, the whole never."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    for _ in range(20):
        request.wfile.write(b"x")
        time.sleep(0.15)


def test_a_receiver_that_recovers_is_told_once_under_one_id(keeping: Service, http_server: HttpServer) -> None:
    http_server.answer("/moved", 200)
    moods: list[Any] = [503, reset, stall, drip, 302, 429]

    def moody(request: BaseHTTPRequestHandler) -> None:
        mood = moods.pop(0) if moods else 204
        if not isinstance(mood, int):
            mood(request)
            return
        request.send_response(mood)
        request.send_header("content-length", "4")
        request.send_header("location", http_server.url("/moved"))
        request.end_headers()
        if mood != 204:
            request.wfile.write(b"busy")

    http_server.answers["/hook"] = moody
    job_id = ended_job(keeping, http_server.url("/hook"))
    delivery = settled(keeping, job_id)
    assert delivery["state"] == "delivered"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, None, None, None, 302, 429, 204]
    assert delivery["attempts"][0]["reply"] == "busy"
    assert all(attempt["error"] for attempt in delivery["attempts"] if attempt["status"] is None)
    assert {received.path for received in http_server.received} == {"/hook"}, "redirects are not followed"
    assert {received.headers["webhook-id"] for received in http_server.received} == {f"evt_{job_id}_completed"}
    assert len({received.headers["webhook-timestamp"] for received in http_server.received}) > 1
    assert keeping.job(job_id)["status"] == "completed"


def test_410_ends_it_and_the_schedule_has_an_end(keeping: Service, http_server: HttpServer) -> None:
    gone = settled(keeping, ended_job(keeping, http_server.answer("/gone", 410)))
    assert (gone["state"], len(gone["attempts"])) == ("abandoned", 1)
    never = settled(keeping, ended_job(keeping, http_server.answer("/never", 500)))
    assert (never["state"], len(never["attempts"])) == ("abandoned", MAX_ATTEMPTS)


def test_retry_after_is_waited_for(keeping: Service, http_server: HttpServer) -> None:
    told = [str(round(2 / SCALE))]

    def later(request: BaseHTTPRequestHandler) -> None:
        request.send_response(429 if told else 204)
        if told:
            request.send_header("retry-after", told.pop())
        request.send_header("content-length", "0")
        request.end_headers()

    http_server.answers["/later"] = later
    settled(keeping, ended_job(keeping, http_server.url("/later")))
    first, second = (int(received.headers["webhook-timestamp"]) for received in http_server.received)
    # A day is the most that is waited: 86,400 s at this scale.
    assert second - first >= 1


def test_a_delivery_is_made_anew_on_request(keeping: Service, http_server: HttpServer) -> None:
    job_id = ended_job(keeping, http_server.answer("/hook", 410))
    delivery = settled(keeping, job_id)
    http_server.answer("/hook", 204)
    url = f"/v1/jobs/{job_id}/deliveries/{delivery['id']}/redeliver"
    reply = keeping.http.post(url)
    assert (reply.status_code, reply.json()["state"]) == (202, "pending")
    again = settled(keeping, job_id)
    assert (again["state"], [attempt["status"] for attempt in again["attempts"]]) == ("delivered", [410, 204])
    assert {received.headers["webhook-id"] for received in http_server.received} == {delivery["id"]}
    other = ended_job(keeping, http_server.url("/hook"))
    for wrong in (f"/v1/jobs/{other}/deliveries/{delivery['id']}/redeliver", f"{url[:-10]}x/redeliver"):
        reply = keeping.http.post(wrong)
        assert (reply.status_code, reply.json()["code"]) == (404, "delivery_not_found")
    assert keeping.http.get("/v1/jobs/job_none/deliveries").json()["code"] == "job_not_found"


@contextmanager
def silent_host() -> Iterator[str]:
    """Another host, which takes connections and says nothing."""
    with socket.create_server(("127.0.0.2", 0), backlog=256) as listener:
        yield f"http://127.0.0.2:{listener.getsockname()[1]}/hook"


def test_a_host_that_stalls_holds_up_only_itself(keeping: Service, http_server: HttpServer) -> None:
    with silent_host() as silent:
        for _ in range(100):
            ended_job(keeping, silent)
        told = threading.Event()
        http_server.answers["/hook"] = lambda request: (told.set(), request.send_error(500))[1]
        ended_job(keeping, http_server.url("/hook"))
        assert told.wait(5)


def test_a_burst_to_one_host_is_not_put_off(keeping: Service, http_server: HttpServer) -> None:
    url = http_server.answer("/hook", 204)
    for _ in range(60):
        ended_job(keeping, url)
    keeping.wait_until(lambda: len(http_server.received) >= 60, "all webhooks", limit_s=20)
    ids = [received.headers["webhook-id"] for received in http_server.received]
    assert len(set(ids)) == len(ids) == 60
    assert {json.loads(received.body)["type"] for received in http_server.received} == {"job.completed"}


def test_a_keeper_that_leaves_gives_its_attempts_to_the_other_at_once(
    keeping: Service, http_server: HttpServer
) -> None:
    asked = threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        time.sleep(8)

    keeping.start("keeper2", WEBHOOK_TIMEOUT_S="20")
    keeping.wait_for_workers(keeper=2)
    keeping.processes["keeper"].terminate()
    assert keeping.processes.pop("keeper").wait(10) == 0
    http_server.answers["/hook"] = hang
    job_id = ended_job(keeping, http_server.url("/hook"))
    assert asked.wait(10)
    http_server.answer("/hook", 204)
    keeping.start("keeper3")
    keeping.wait_for_workers(keeper=2)
    keeping.processes["keeper2"].terminate()
    assert keeping.processes.pop("keeper2").wait(10) == 0
    assert settled(keeping, job_id)["state"] == "delivered"
