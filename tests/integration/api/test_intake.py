"""The intake over HTTP: the real application on real servers, without workers."""

import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from jobs.model.documents.request import JobRequest
from jobs.model.job import JobStatus, Stage
from jobs.objects.keys import request_key
from jobs.table import keys
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.api import HELLO, client_of, inline_picture
from testing.processes.servers import free_ports
from testing.table import Table, completed


def test_a_202_has_the_jobs_location_and_the_job_is_durable(client: TestClient, table: Table) -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": inline_picture()}},
                    {"type": "text", "text": "What is it?"},
                ],
            },
        ],
        "thinking": {"budget_tokens": 7},
        "max_answer_tokens": 9,
        "sampling": {"temperature": 0, "seed": 5},
        "stop": ["END", "\n\n"],
        "metadata": {"order": "A-17"},
    }
    reply = client.post("/v1/jobs", json=body)
    assert reply.status_code == 202
    job = reply.json()
    assert reply.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["metadata"]) == ("preparing", {"order": "A-17"})
    assert client.get(reply.headers["location"]).json() == job

    request = JobRequest.from_json(table.object_store.get(request_key(job["id"])))
    assert (request.thinking_budget, request.max_answer_tokens, request.seed) == (7, 9, 5)
    assert request.stop == ("END", "\n\n")
    picture = request.messages[1]["content"][0]
    with Image.open(io.BytesIO(table.object_store.get(picture["key"]))) as image:
        assert image.size == (30, 20)
    assert table.status(job["id"]) is JobStatus.PREPARING


def test_an_ended_job_has_its_output_and_an_unknown_job_is_a_404(client: TestClient, table: Table) -> None:
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "completed"
    assert job["output"]["answer"] == "four"

    reply = client.get("/v1/jobs/job_unknown")
    assert (reply.status_code, reply.json()["code"]) == (404, "job_not_found")
    assert reply.headers["content-type"] == "application/problem+json"


MESSAGE = {"role": "user", "content": "Hello."}


def picture(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({}, "/messages", "is missing"),
        ({"messages": []}, "/messages", "at least 1"),
        ({**HELLO, "stream": True}, "/stream", "not a field of this API"),
        ({**HELLO, "sampling": {"temprature": 1}}, "/sampling/temprature", "not a field"),
        ({**HELLO, "sampling": {"temperature": -1}}, "/sampling/temperature", "at least 0"),
        ({**HELLO, "thinking": {"budget_tokens": -2}}, "/thinking/budget_tokens", "-1"),
        ({**HELLO, "thinking": {"budget_tokens": 10**9}}, "/thinking/budget_tokens", "leaves no room"),
        ({**HELLO, "max_answer_tokens": 0}, "/max_answer_tokens", "at least 1"),
        ({**HELLO, "stop": "END"}, "/stop", "list"),
        ({**HELLO, "stop": [""]}, "/stop/0", "must not be empty"),
        ({**HELLO, "stop": ["x" * 257]}, "/stop/0", "at most 256"),
        ({**HELLO, "stop": ["a", "b", "c", "d", "e"]}, "/stop", "at most 4"),
        ({**HELLO, "stop_sequences": ["END"]}, "/stop_sequences", 'use "stop"'),
        ({**HELLO, "callback": {"url": "ftp://example.com/"}}, "/callback/url", "http"),
        ({**HELLO, "callback": {"url": "https://example.com/", "events": []}}, "/callback/events", "at least 1"),
        ({**HELLO, "metadata": {"a": 1}}, "/metadata/a", "string"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "/messages/0/role", "user"),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio", "url": "x"}]}]},
            "/messages/0/content/0",
            "type",
        ),
        (
            picture("file:///etc"),
            "/messages/0/content/0/image_url/url",
            "http",
        ),
        (
            picture("data:;base64,%"),
            "/messages/0/content/0/image_url/url",
            "base64",
        ),
    ],
)
def test_an_invalid_body_is_refused_with_the_field(
    client: TestClient, body: dict[str, Any], pointer: str, says: str
) -> None:
    reply = client.post("/v1/jobs", json=body)
    assert reply.status_code == 422, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    faults = reply.json()["errors"]
    assert any(fault["pointer"] == pointer and says in fault["message"] for fault in faults), faults
    assert reply.json()["error"]["param"] == faults[0]["pointer"]


def test_a_body_that_is_not_json_is_refused(client: TestClient) -> None:
    reply = client.post("/v1/jobs", content=b'{"messages": ', headers={"content-type": "application/json"})
    assert reply.status_code in (400, 422)
    assert reply.json()["errors"][0]["code"] == "invalid_json"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_a_413(table: Table, chunked: bool) -> None:
    settings = table.settings.model_copy(update={"max_body_bytes": 2_000})
    with client_of(settings) as client:
        body = b'{"messages": "' + b"x" * 5_000 + b'"}'
        reply = client.post("/v1/jobs", content=iter([body[:1_000], body[1_000:]]) if chunked else body)
    assert reply.status_code == 413
    assert "1.96 KiB" in reply.json()["detail"]


def test_an_idempotency_key_creates_one_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = client.post("/v1/jobs", json=HELLO, headers=headers)
    again = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/jobs", json={**HELLO, "max_answer_tokens": 3}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


def test_a_full_queue_is_a_429_with_retry_after(table: Table) -> None:
    with client_of(table.settings.model_copy(update={"max_waiting_jobs": 1})) as client:
        assert client.post("/v1/jobs", json=HELLO).status_code == 202
        reply = client.post("/v1/jobs", json=HELLO)
    assert (reply.status_code, reply.json()["code"]) == (429, "queue_full")
    assert 0 < int(reply.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("server", "code"), [("redis_url", "store_unavailable"), ("s3_endpoint", "object_store_unavailable")]
)
def test_without_a_server_submissions_get_a_503_and_nothing_is_accepted(table: Table, server: str, code: str) -> None:
    scheme = "redis" if server == "redis_url" else "http"
    gone = {**table.settings.model_dump(), server: f"{scheme}://127.0.0.1:{free_ports()}"}
    with client_of(Settings(**gone)) as client:
        reply = client.post("/v1/jobs", json=HELLO, headers={"Idempotency-Key": "gone"})
        assert (reply.status_code, reply.json()["code"]) == (503, code)
        assert int(reply.headers["retry-after"]) <= 60
        health = client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "unavailable")
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200, "all replicas would leave the load balancer"
    assert connect(table.settings).keys(keys.job("*")) == []
    assert table.object_store.is_empty("requests/")


def test_a_service_without_an_epoch_accepts_nothing(table: Table) -> None:
    """As after Redis lost its data: recovered jobs must not be mixed with new ones."""
    connect(table.settings).delete(keys.EPOCH)
    with client_of(table.settings) as client:
        reply = client.post("/v1/jobs", json=HELLO, headers={"Idempotency-Key": "early"})
        assert (reply.status_code, reply.json()["code"]) == (503, "recovery_needed")
    assert table.object_store.is_empty("requests/")


def test_healthz_reports_checks_and_workers(client: TestClient) -> None:
    reply = client.get("/healthz")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ok", "checks": {"store": "ok", "object_store": "ok"}, "workers": {}}
