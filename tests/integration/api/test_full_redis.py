"""Redis out of memory: new jobs are refused, and everything that ends or removes a job works."""

from collections.abc import Iterator

import pytest
import redis
from fastapi.testclient import TestClient

from jobs.errors import Overloaded
from jobs.model.job import JobStatus, Stage
from jobs.table.deliveries import DeliveryAttempt
from jobs.table.intake.intake_switch import IntakeSwitch
from jobs.table.scripts import connect, script_names, script_source
from jobs.table.types import WorkerStatus
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.api import HELLO, client_of
from testing.table import Table, completed

GROWS = {"accept", "create_test_delivery", "open_batch", "open_upload", "redeliver"}
"""Scripts that a client calls to add something: a full Redis refuses them."""


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    """A client with an API key that Redis has not cached."""
    _, token = ApiKeyStore(connect(table.settings), table.object_store).create(ApiKey("", "default"))
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture
def full(table: Table) -> Iterator["redis.Redis"]:
    """Call ``config_set`` to fill Redis; its limit returns after the test."""
    client = connect(table.settings)
    limit = int(client.config_get("maxmemory")["maxmemory"] or 0)
    yield client
    client.config_set("maxmemory", limit)


def fill(client: "redis.Redis") -> None:
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) // 2)


@pytest.mark.parametrize("name", script_names())
def test_a_script_says_whether_it_may_exceed_the_memory(name: str) -> None:
    flags = script_source(name).partition("\n")[0]
    assert ("allow-oom" in flags or "no-writes" in flags) is (name not in GROWS)


def test_jobs_end_and_leave_a_redis_without_memory(table: Table, full: "redis.Redis") -> None:
    running = table.running("job_running", events=("completed",))
    table.queued("job_queued")
    table.accept("job_waiting")
    fill(full)
    with pytest.raises(Overloaded):
        table.accept("job_new")
    worker = WorkerStatus("w", "generate", "ready", 1, 0)
    assert table.store.heartbeat(worker, {"job_running": running.claim}) == {"job_running": "ok"}
    assert table.finalizer.finalize(completed(running), expect="owner") == JobStatus.COMPLETED
    claimed = table.claim(Stage.GENERATE)
    assert claimed is not None
    table.store.release("job_queued", claimed.job.claim)
    for job_id in ("job_queued", "job_waiting"):
        job = table.store.get(job_id)
        assert job is not None
        table.finalizer.cancel(job)
        assert table.status(job_id) == JobStatus.CANCELLED
    (due,) = [delivery for delivery in table.deliveries.claim_due(claim="c", limit=9) if delivery.job_id]
    attempt = DeliveryAttempt("2026-11-26T00:00:00Z", 200, None, 1, "")
    assert table.deliveries.settle(due.id, claim="c", state="delivered", attempt=attempt, wait_ms=0, retention_ms=9**6)
    table.store.mark_archived("job_running")
    assert table.store.delete("job_running")


def test_a_client_with_a_key_can_cancel_and_delete(client: TestClient, full: "redis.Redis") -> None:
    ids = [client.post("/v1/jobs", json=HELLO).json()["id"] for _ in range(2)]
    full.delete(*full.scan_iter("api_key:*"))
    fill(full)
    refused = client.post("/v1/jobs", json=HELLO)
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert client.get(f"/v1/jobs/{ids[0]}").status_code == 200
    assert client.post(f"/v1/jobs/{ids[0]}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/v1/jobs/{ids[0]}").status_code == 204
    assert client.get("/v1/jobs").json()["data"][0]["id"] == ids[1]


def test_an_operator_can_drain_and_revoke(table: Table, full: "redis.Redis") -> None:
    store = ApiKeyStore(full, table.object_store)
    key, token = store.create(ApiKey("", "a"))
    fill(full)
    IntakeSwitch(full).pause()
    assert not IntakeSwitch(full).is_open()
    IntakeSwitch(full).resume()
    assert store.find(token) is not None
    assert store.revoke(key.id)
    assert store.find(token) is None
    table.store.integrity.mark_reconciled(table.store.integrity.server_clock()[0])
    table.deliveries.restore_attempts("evt_x", [DeliveryAttempt("x", 200, None, 1, "")], retention_ms=1000)
