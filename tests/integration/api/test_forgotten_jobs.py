"""Ended jobs that left Redis because their tenant has more than it keeps: their objects still serve every call."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.lifecycle.end.archive import EventArchive
from jobs.model.job import Stage
from jobs.model.retention import DAY_MS
from jobs.objects import keys
from jobs.objects.documents import load_request
from testing.api import HELLO, client_of
from testing.processes.http_server import HttpServer
from testing.processes.waiting import TIME_SCALE
from testing.table import Table, completed
from worker.egress.client import EgressClient
from worker.keeper.delivery.deliverer import Deliverer
from worker.keeper.delivery.dispatcher import DeliveryDispatcher


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(table.settings.model_copy(update={"max_ended_jobs": 2})) as client:
        yield client


def end(client: TestClient, table: Table, *, headers: dict[str, str] | None = None, **more: Any) -> str:
    """Submit a job and complete it."""
    reply = client.post("/v1/jobs", json={**HELLO, **more}, headers=headers)
    assert reply.status_code == 202, reply.text
    job_id = str(reply.json()["id"])
    while claimed := table.claim(Stage.PREPARE):
        if claimed.job.id == job_id:
            table.finalizer.finalize(completed(claimed.job), expect="owner")
            EventArchive(table.store, table.object_store).archive(job_id)
            return job_id
    raise AssertionError("the job is not in the queue")


def forget(client: TestClient, table: Table, job_id: str) -> None:
    """End as many jobs as it takes until Redis forgets one."""
    for _ in range(6):
        end(client, table)
    assert table.store.get(job_id) is None


def deliver(table: Table) -> None:
    """Attempt every delivery that is due."""

    async def run() -> None:
        async with EgressClient(table.settings.egress_allow) as egress:
            deliverer = Deliverer(table.store, table.deliveries, table.object_store, table.settings, egress)
            dispatcher = DeliveryDispatcher(table.deliveries, deliverer)
            await dispatcher.dispatch_due()
            await dispatcher.drain(timeout_s=30 * TIME_SCALE)

    asyncio.run(run())


def test_it_can_be_read_retried_and_deleted(client: TestClient, table: Table) -> None:
    job_id = end(client, table, metadata={"a": "b"})
    forget(client, table, job_id)
    newest = client.get("/v1/jobs").json()["data"][0]["id"]
    assert job_id not in [job["id"] for job in client.get("/v1/jobs").json()["data"]]

    found = client.get(f"/v1/jobs/{job_id}").json()
    assert (found["status"], found["metadata"], found["output"]["answer"]) == ("completed", {"a": "b"}, "four")
    assert found.keys() == client.get(f"/v1/jobs/{newest}").json().keys()
    assert found["ended_at"]
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "completed"
    assert "job.completed" in client.get(f"/v1/jobs/{job_id}/events").text
    assert client.post(f"/v1/jobs/{job_id}/retry").status_code == 202

    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.get("/v1/jobs/job_00000000000000000000000000").status_code == 404


def test_it_can_be_continued(client: TestClient, table: Table) -> None:
    job_id = end(client, table)
    forget(client, table, job_id)
    reply = client.post("/v1/jobs", json={**HELLO, "previous_job_id": job_id})
    assert reply.status_code == 202, reply.text
    messages = load_request(table.object_store, reply.json()["id"]).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]


def test_a_repeat_with_its_idempotency_key_is_answered_with_it(client: TestClient, table: Table) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = end(client, table, headers=headers)
    forget(client, table, job_id)
    repeat = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert (repeat.status_code, repeat.json().get("id")) == (202, job_id), repeat.text
    assert repeat.json()["status"] == "completed"
    assert client.post("/v1/jobs", json={**HELLO, "metadata": {"x": "y"}}, headers=headers).status_code == 422


def test_the_retry_of_a_client_library_is_answered_with_it(client: TestClient, table: Table) -> None:
    body = {"metadata": {"a": "b"}}
    job_id = end(client, table, headers={"x-stainless-retry-count": "0"}, **body)
    forget(client, table, job_id)
    repeat = client.post("/v1/jobs", json={**HELLO, **body}, headers={"x-stainless-retry-count": "1"})
    assert (repeat.status_code, repeat.json().get("id")) == (202, job_id), repeat.text
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"


def test_its_deliveries_can_be_read_and_repeated(client: TestClient, table: Table, http_server: HttpServer) -> None:
    job_id = end(
        client, table, callback={"url": http_server.answer("/hook")}, result_urls=[http_server.answer("/copy")]
    )
    deliver(table)
    before = client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
    assert [delivery["state"] for delivery in before] == ["delivered", "delivered"]
    forget(client, table, job_id)

    assert client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"] == before
    event = before[1]["id"]
    assert client.get(f"/v1/webhook_deliveries/{event}").json() == before[1]

    for sendings in (2, 3):
        sent = client.post(f"/v1/jobs/{job_id}/deliveries/{event}/redeliver")
        assert (sent.status_code, sent.json()["state"]) == (202, "pending")
        states = [delivery["state"] for delivery in client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]]
        assert states == ["delivered", "pending"]
        deliver(table)
        hooks = [request for request in http_server.received if request.path == "/hook"]
        assert [request.headers["webhook-id"] for request in hooks] == [event] * sendings
        after = client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
        assert [(one["state"], len(one["attempts"])) for one in after] == [("delivered", 1), ("delivered", sendings)]
    assert table.deliveries.get(event) is None, "its row leaves Redis again"
    assert table.deliveries.list_for_job(job_id) == []


def test_a_deleted_job_has_no_deliveries_to_repeat(client: TestClient, table: Table) -> None:
    job_id = end(client, table, callback={"url": "http://localhost:9/hook"})
    [row] = table.deliveries.list_for_job(job_id)
    table.store.delete(job_id)
    assert not table.deliveries.redeliver_settled(row, tenant="default", retention_ms=DAY_MS)
    assert table.deliveries.get(row.id) is None


def test_a_damaged_delivery_does_not_hide_the_others(client: TestClient, table: Table) -> None:
    job_id = end(client, table)
    forget(client, table, job_id)
    for number, data in enumerate((b"{", b"[]", b'{"attempts": 3}', b'{"state": "delivered", "attempts": []}')):
        table.object_store.put(keys.tombstone_key(f"copy_{job_id}_{number}"), data)
    found = client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
    assert [delivery["id"] for delivery in found] == [f"copy_{job_id}_3"]
