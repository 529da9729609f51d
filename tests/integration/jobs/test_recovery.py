"""The job table is rebuilt from the object store after Redis lost all data, or its last second."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.errors import RecoveryNeeded
from jobs.lifecycle.end.archive import EventArchive
from jobs.lifecycle.recovery.reconcile import Recovery, recover
from jobs.lifecycle.recovery.report import RecoveryReport
from jobs.model.documents.prepared import PreparedInputs
from jobs.model.job import Job, JobStatus, Stage
from jobs.model.times import parse_time
from jobs.objects.keys import job_folder
from jobs.table import keys
from jobs.table.scripts import connect
from testing.api import HELLO
from testing.processes.http_server import HttpServer
from testing.processes.servers import Servers
from testing.table import Table, completed
from worker.egress.client import EgressClient
from worker.keeper.delivery.deliverer import Deliverer


def post(client: TestClient, **more: Any) -> str:
    reply = client.post("/v1/jobs", json={**HELLO, **more})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def prepare(table: Table, job_id: str) -> None:
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert claimed.job.id == job_id
    folder = f"a1-{claimed.job.claim}"
    inputs = PreparedInputs([{"role": "user", "content": []}], (), (), required_tokens=77)
    table.object_store.put(f"{job_folder(job_id)}/{folder}/prepared.json", inputs.to_json())
    table.store.mark_prepared(job_id, claimed.job.claim, folder=folder, required_tokens=77)


def run(table: Table, job_id: str) -> Job:
    prepare(table, job_id)
    claimed = table.claim(Stage.GENERATE)
    assert claimed is not None
    return claimed.job


def deliver(table: Table) -> None:
    async def attempt() -> None:
        async with EgressClient(table.settings.egress_allow) as egress:
            deliverer = Deliverer(table.store, table.deliveries, table.object_store, table.settings, egress)
            for due in table.deliveries.claim_due(claim="k", limit=10):
                await deliverer.deliver(due, claim="k")

    asyncio.run(attempt())


def wipe(table: Table) -> None:
    connect(table.settings).flushdb()


def test_after_a_wipe_every_job_has_the_status_that_its_objects_say(
    client: TestClient, table: Table, http_server: HttpServer
) -> None:
    hook = {"url": http_server.answer("/hook", body=b"thanks"), "events": ["job.completed", "job.cancelled"]}
    ended = post(client, callback=hook, metadata={"kind": "ended"})
    job = run(table, ended)
    table.finalizer.finalize(completed(job), expect="owner")
    EventArchive(table.store, table.object_store).archive(ended)
    deliver(table)
    undelivered = post(client, callback=hook)
    table.finalizer.finalize(completed(run(table, undelivered)), expect="owner")
    cancelled = post(client, callback=hook)
    run(table, cancelled)
    client.post(f"/v1/jobs/{cancelled}/cancel")
    running = post(client)
    run(table, running)
    waiting = post(client)
    before = {job_id: client.get(f"/v1/jobs/{job_id}").json() for job_id in (ended, running, waiting)}
    archived = client.get(f"/v1/jobs/{ended}/events").text

    wipe(table)
    assert client.post("/v1/jobs", json=HELLO).json()["code"] == "recovery_needed"
    report = recover(table.settings)
    assert report == RecoveryReport(requests=5, waiting=2, ended=2, cancelled=1)
    assert recover(table.settings) == RecoveryReport(requests=5), "a second run changes nothing"

    again = client.get(f"/v1/jobs/{ended}").json()
    for field in ("status", "output", "metadata", "usage", "attempt"):
        assert again[field] == before[ended][field], field
    for field in ("created_at", "ended_at", "expires_at"):
        # The times of a restored record come from its objects, which are written some milliseconds earlier or later.
        difference = parse_time(again[field]) - parse_time(before[ended][field])
        assert abs(difference) <= timedelta(seconds=1), field
    assert client.get(f"/v1/jobs/{ended}/events").text == archived
    assert client.get(f"/v1/jobs/{cancelled}").json()["status"] == "cancelled"
    assert client.get(f"/v1/jobs/{running}").json()["status"] == "queued"
    assert client.get(f"/v1/jobs/{waiting}").json()["status"] == "preparing"
    listed = client.get("/v1/jobs", params={"metadata[kind]": "ended"}).json()["data"]
    assert [job["id"] for job in listed] == [ended]

    http_server.received.clear()
    deliver(table)
    delivered = sorted(received.headers["webhook-id"] for received in http_server.received)
    assert delivered == sorted([f"evt_{undelivered}_completed", f"evt_{cancelled}_cancelled"])
    (delivery,) = client.get(f"/v1/jobs/{ended}/deliveries").json()["data"]
    assert (delivery["state"], [attempt["status"] for attempt in delivery["attempts"]]) == ("delivered", [200])

    prepared = table.claim(Stage.GENERATE)
    assert prepared is not None
    assert (prepared.job.id, prepared.job.required_tokens) == (running, 77)
    assert prepared.last_seq > 0, "its stream says that it starts again"
    follow = client.get(f"/v1/jobs/{ended}/events", params={"after": 0}).text
    assert "job.completed" in follow
    first = table.claim(Stage.PREPARE)
    assert first is not None
    assert first.job.id == waiting


def test_a_worker_from_before_the_wipe_cannot_write_to_the_new_table(client: TestClient, table: Table) -> None:
    job = run(table, post(client))
    wipe(table)
    with pytest.raises(RecoveryNeeded):
        table.store.append(job.id, job.claim, [], tokens=0)
    recover(table.settings)
    assert table.store.append(job.id, job.claim, [], tokens=0) == "lost"


def test_a_result_that_was_stored_while_the_table_was_lost_is_used(client: TestClient, table: Table) -> None:
    job = run(table, post(client))
    wipe(table)
    table.finalizer.finalize(completed(job, "kept"), expect="owner")
    assert recover(table.settings) == RecoveryReport(requests=1, ended=1)
    assert client.get(f"/v1/jobs/{job.id}").json()["output"]["answer"] == "kept"


def test_an_idempotency_key_finds_its_job_after_a_wipe(client: TestClient, table: Table) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/v1/jobs", json=HELLO, headers=headers).json()["id"]
    wipe(table)
    recover(table.settings)
    again = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first, "true")


def test_a_lost_last_second_is_repaired(client: TestClient, table: Table) -> None:
    """Redis restarted with its state of a second ago: an accepted job, an end and a cancel are missing."""
    finished, cancelled = run(table, post(client)), run(table, post(client))
    redis = connect(table.settings)
    rows: dict[str, Any] = {job.id: redis.hgetall(keys.job(job.id)) for job in (finished, cancelled)}
    leases: Any = redis.zrange(keys.leases(Stage.GENERATE), 0, -1, withscores=True)
    table.finalizer.finalize(completed(finished), expect="owner")
    client.post(f"/v1/jobs/{cancelled.id}/cancel")
    accepted = post(client)
    for job_id, row in rows.items():
        redis.delete(keys.job(job_id), keys.stream(job_id))
        redis.hset(keys.job(job_id), mapping=row)
    redis.zadd(keys.leases(Stage.GENERATE), dict(leases))
    redis.delete(keys.job(accepted))
    redis.zrem(keys.queue(Stage.PREPARE, "default"), accepted)

    recovery = Recovery(redis, table.object_store, table.settings)
    assert not recovery.is_needed
    redis.set(keys.RECONCILED, "an earlier run")  # as after a restart
    assert recovery.is_needed
    assert client.get("/v1/jobs/job_none").status_code == 503, "the job may exist: the table is not reconciled yet"
    assert recovery.run() == RecoveryReport(requests=3, waiting=1, cancelled=1, finalized=1)
    assert not recovery.is_needed
    assert table.status(finished.id) == JobStatus.COMPLETED
    assert table.store.append(cancelled.id, cancelled.claim, [], tokens=0) == "cancel"
    assert table.status(accepted) == JobStatus.PREPARING


def test_recovery_restores_no_more_ended_jobs_than_redis_keeps(client: TestClient, table: Table) -> None:
    for _ in range(5):
        job = run(table, post(client))
        table.finalizer.finalize(completed(job), expect="owner")
        EventArchive(table.store, table.object_store).archive(job.id)
    wipe(table)
    recover(table.settings.model_copy(update={"max_ended_jobs": 2}))
    redis = connect(table.settings)
    assert len(redis.keys("job:*")) == redis.zcard(keys.ended("default")) <= 3


def test_deleted_jobs_and_jobs_past_their_retention_are_not_restored(client: TestClient, table: Table) -> None:
    removed, old = run(table, post(client)), run(table, post(client))
    for job in (removed, old):
        table.finalizer.finalize(completed(job), expect="owner")
    client.delete(f"/v1/jobs/{removed.id}")
    wipe(table)
    # The times of objects cannot be changed; a negative retention has the same effect.
    shorter = table.settings.model_copy(update={"retention_days": -1})
    assert recover(shorter) == RecoveryReport(requests=1, past_retention=1)
    assert table.store.get(removed.id) is table.store.get(old.id) is None


def test_the_recover_command_rebuilds_the_table(client: TestClient, table: Table, servers: Servers) -> None:
    job_id = post(client)
    wipe(table)
    secret = table.settings.webhook_secret.get_secret_value()
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "recover"],
        env={**os.environ, **servers.environment(), "WEBHOOK_SECRET": secret, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "1 requests checked: 1 jobs wait again" in ended.stdout
    assert job_id not in ended.stdout + ended.stderr, "the output has totals, not a line for each job"
    assert table.status(job_id) == JobStatus.PREPARING
