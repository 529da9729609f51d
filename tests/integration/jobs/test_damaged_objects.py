"""A job with a damaged object ends once, with an error that says so, and no other job waits for it."""

import pytest
from fastapi.testclient import TestClient

from jobs.lifecycle.end.archive import EventArchive
from jobs.lifecycle.end.corrupt_result import load_or_replace_result
from jobs.lifecycle.end.deletion import delete_withdrawn_job
from jobs.lifecycle.recovery.reconcile import Recovery
from jobs.model.documents.idempotency import key_digest
from jobs.model.documents.result import withdrawal_marker
from jobs.model.job import JobStatus, Stage
from jobs.objects import keys
from jobs.objects.documents import load_request, load_result
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from testing.api import HELLO, client_of
from testing.processes.proxy import Proxy, Trap
from testing.processes.servers import Servers
from testing.processes.waiting import TIME_SCALE
from testing.table import Table, completed
from worker.keeper.reaper import Reaper

DAMAGED = [b"", b"{", b"[]", b'{"v": 1}', b'{"v": 1, "status": "no status", "media": []}']


def reaper_of(table: Table) -> Reaper:
    return Reaper(table.store, table.maintenance, table.object_store, table.finalizer)


def post(client: TestClient) -> str:
    return str(client.post("/v1/jobs", json=HELLO).json()["id"])


@pytest.mark.parametrize("data", DAMAGED)
def test_the_keeper_ends_a_job_whose_stored_result_is_damaged(client: TestClient, table: Table, data: bytes) -> None:
    """Its worker died after it stored the result."""
    job_id = post(client)
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.store.seal(job_id, sealer=claimed.job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.object_store.put(keys.result_key(job_id), data)
    table.expire_lease(job_id)
    reaper_of(table).run_maintenance()
    assert table.status(job_id) == JobStatus.FAILED
    found = client.get(f"/v1/jobs/{job_id}").json()
    assert (found["status"], found["error"]["code"]) == ("failed", "internal_error")
    assert "stored result is damaged" in found["error"]["message"]
    assert table.object_store.get(keys.damaged_result_key(job_id)) == data

    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert table.object_store.list_keys("jobs/") == []


def test_a_worker_that_finds_a_damaged_result_stores_its_own(table: Table) -> None:
    job = table.running("job_a")
    table.object_store.put(keys.result_key("job_a"), b"{")
    assert table.finalizer.finalize(completed(job), expect="owner") == JobStatus.COMPLETED
    assert load_result(table.object_store, "job_a").output == completed(job).output


def test_two_processes_that_replace_a_damaged_result_agree(table: Table) -> None:
    table.running("job_a")
    table.object_store.put(keys.result_key("job_a"), b"{")
    for _ in range(2):
        assert table.finalizer.finalize_from_result("job_a") == JobStatus.FAILED
    assert table.object_store.get(keys.damaged_result_key("job_a")) == b"{"


def test_a_replacement_at_the_same_time_as_another_does_not_change_the_end_of_the_job(
    table: Table, servers: Servers
) -> None:
    """A worker that holds the seal writes its result; a recovery that finds the damage ends the job before."""
    job, proxy = table.running("job_a"), Proxy(servers.seaweedfs.port)
    table.object_store.put(keys.result_key("job_a"), b"{")
    ends: list[JobStatus] = []
    trap = Trap(
        b"PUT /thinkqueue/results/job_a.json",
        "before",
        lambda: ends.append(load_or_replace_result(table.object_store, "job_a").status),
    )
    proxy.set(trap)
    through = ObjectStore(
        table.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{proxy.port}"}), timeout_s=5 * TIME_SCALE
    )
    ends.append(load_or_replace_result(through, "job_a", replacement=completed(job)).status)
    proxy.close()
    assert trap.triggered.is_set()
    assert len(ends) == 2
    assert set(ends) == {load_result(table.object_store, "job_a").status}
    assert table.object_store.get(keys.damaged_result_key("job_a")) == b"{"


def test_a_recovery_restores_jobs_with_damaged_results_and_inputs(client: TestClient, table: Table) -> None:
    ended, waiting = post(client), post(client)
    table.object_store.put(keys.result_key(ended), b"{")
    table.object_store.put(keys.prepared_key(waiting, "a1-x"), b"{")
    redis = connect(table.settings)
    for job_id in (ended, waiting):
        redis.delete(f"job:{job_id}")
    redis.set("reconciled", "an earlier process")
    report = Recovery(redis, table.object_store, table.settings).run()
    assert (report.ended, report.waiting) == (1, 1)
    assert table.status(ended) == JobStatus.FAILED
    assert table.status(waiting) == JobStatus.PREPARING


def test_a_withdrawn_job_with_a_damaged_marker_is_deleted(table: Table) -> None:
    table.object_store.put(keys.result_key("job_a"), b"{")
    delete_withdrawn_job(table.object_store, "job_a")
    assert table.object_store.get(keys.result_key("job_a")) == withdrawal_marker("job_a")


def test_a_damaged_request_does_not_hide_the_other_jobs_of_its_tenant(client: TestClient, table: Table) -> None:
    whole, damaged = post(client), post(client)
    table.object_store.put(keys.request_key(damaged), b"{")
    with client_of(table.settings) as other:  # without the first one's cache
        assert [job["id"] for job in other.get("/v1/jobs").json()["data"]] == [whole]
        reply = other.get(f"/v1/jobs/{damaged}")
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert "damaged" in reply.json()["detail"]


def test_a_damaged_archive_of_events_reads_like_an_expired_one(client: TestClient, table: Table) -> None:
    job_id = post(client)
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    archive = EventArchive(table.store, table.object_store)
    archive.archive(job_id)
    connect(table.settings).delete(f"stream:{job_id}")
    assert archive.read(job_id)
    for data in (b"{\n", b"[1]\n", b"\xff\n", b"3\n"):
        table.object_store.put(keys.events_key(job_id), data)
        assert client.get(f"/v1/jobs/{job_id}/events").status_code == 204


def test_a_damaged_record_of_an_idempotency_key_refuses_the_key(client: TestClient, table: Table) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = client.post("/v1/jobs", json=HELLO, headers=headers).json()["id"]
    table.object_store.put(keys.idempotency_key(key_digest("default", "k"), 0), b"{")
    reply = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_conflict")
    assert "damaged" in reply.json()["detail"]

    redis = connect(table.settings)
    redis.delete(f"job:{job_id}")
    redis.set("reconciled", "an earlier process")
    assert Recovery(redis, table.object_store, table.settings).run().waiting == 1, "its 202 was sent"
    assert load_request(table.object_store, job_id).id == job_id


def test_a_damaged_decision_keeps_the_job(client: TestClient, table: Table) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = client.post("/v1/jobs", json=HELLO, headers=headers).json()["id"]
    for data in (b"{", b"{}"):
        table.object_store.put(keys.decision_key(job_id), data)
        assert client.post("/v1/jobs", json=HELLO, headers=headers).json()["id"] == job_id
