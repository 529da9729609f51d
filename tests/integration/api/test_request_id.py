"""The request id: in the response header, in error bodies and in every log line of a request."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from fastapi.testclient import TestClient
from structlog.testing import LogCapture
from structlog.typing import EventDict

from api.middleware.protocol.request_id import add_request_id
from testing.api import HELLO, client_of
from testing.processes.servers import free_ports
from testing.processes.service import Service
from testing.table import Table


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    """The log lines of the test, after the api's own processor."""
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(processors=[add_request_id, capture], cache_logger_on_first_use=False)
    yield capture.entries
    structlog.configure(**before)


def test_a_generated_id_is_in_the_header_and_in_the_error_body(client: TestClient) -> None:
    reply = client.get("/v1/jobs/job_unknown")
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert client.get("/livez").headers["x-request-id"] != reply.headers["x-request-id"]


def test_a_wellformed_id_of_the_client_is_kept(client: TestClient) -> None:
    reply = client.get("/v1/nothing", headers={"x-request-id": "order-17:a.b_c"})
    assert reply.headers["x-request-id"] == reply.json()["request_id"] == "order-17:a.b_c"
    assert reply.headers.get_list("x-request-id") == ["order-17:a.b_c"]


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", 'a"b', "a\tb", "é".encode("latin-1"), "{}"])
def test_any_other_id_of_the_client_is_replaced(client: TestClient, sent: str | bytes) -> None:
    reply = client.get("/v1/nothing", headers={b"x-request-id": sent if isinstance(sent, bytes) else sent.encode()})
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


def test_errors_before_the_route_carry_the_id(table: Table) -> None:
    with client_of(table.settings.model_copy(update={"auth": "keys", "max_body_bytes": 1_024})) as client:
        reply = client.get("/v1/jobs", headers={"x-request-id": "early"})
    assert (reply.status_code, reply.json()["request_id"], reply.headers["x-request-id"]) == (401, "early", "early")


def test_a_crash_carries_the_id(client: TestClient) -> None:
    state = client.app.state  # type: ignore[attr-defined]
    state.services = replace(state.services, usage=None)
    reply = client.get("/v1/usage", headers={"x-request-id": "crash"})
    assert (reply.status_code, reply.json()["request_id"], reply.headers["x-request-id"]) == (500, "crash", "crash")


def test_log_lines_of_handlers_and_of_the_intake_carry_the_id(table: Table, lines: list[EventDict]) -> None:
    """Handlers and the intake run in threads."""
    gone = table.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{free_ports()}"})
    with client_of(gone) as client:
        assert client.post("/v1/jobs", json=HELLO, headers={"x-request-id": "r1"}).status_code == 503
    with client_of(table.settings) as client:
        assert client.post("/v1/jobs", json=HELLO, headers={"x-request-id": "r2"}).status_code == 202
    assert ("request.unavailable", "r1") in [(line["event"], line.get("request_id")) for line in lines]
    assert ("job.accepted", "r2") in [(line["event"], line.get("request_id")) for line in lines]


def test_the_process_writes_the_id_into_its_log(isolated_service: Service) -> None:
    isolated_service.start("api", LOG_FORMAT="json")
    isolated_service.wait_for_workers()
    for request_id in ("r3", "r4"):
        assert (
            isolated_service.http.post("/v1/jobs", json=HELLO, headers={"x-request-id": request_id}).status_code == 202
        )
    lines = [json.loads(line) for line in isolated_service.log("api").splitlines() if line.startswith("{")]
    accepted = [line["request_id"] for line in lines if line["event"] == "job.accepted"]
    assert accepted == ["r3", "r4"]
    assert all("request_id" not in line for line in lines if line["event"] != "job.accepted"), lines
