"""What a 202 and an error promise, whichever server call was slow or lost, and what an Idempotency-Key finds later."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from jobs.errors import ClaimLost
from jobs.lifecycle.acceptance import Acceptance
from jobs.lifecycle.end.archive import EventArchive
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.lifecycle.recovery.reconcile import Recovery, recover
from jobs.lifecycle.recovery.report import RecoveryReport
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job, Stage
from jobs.objects import keys as object_keys
from jobs.objects.store import MAX_BYTES, ObjectStore
from jobs.table import keys
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.api import HELLO
from testing.processes.servers import free_ports
from testing.table import Table, completed
from worker.keeper.reaper import Reaper

KEY = {"Idempotency-Key": "order-17"}
OTHER = {"messages": [{"role": "user", "content": "Something else."}]}


def post(client: TestClient, *, headers: dict[str, str] | None = None) -> str:
    reply = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def claim(table: Table, job_id: str) -> Job:
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert claimed.job.id == job_id
    return claimed.job


def finish(table: Table, job_id: str, answer: str = "four") -> None:
    table.finalizer.finalize(completed(claim(table, job_id), answer), expect="owner")


def forget(table: Table, job_id: str) -> None:
    """Remove the record, as when it expires."""
    redis = connect(table.settings)
    redis.delete(keys.job(job_id), keys.stream(job_id))
    table.store.integrity.mark_reconciled(table.store.integrity.server_clock()[0])


def visible_jobs(client: TestClient) -> list[str]:
    return [job["id"] for job in client.get("/v1/jobs").json()["data"]]


def usage(client: TestClient) -> int:
    return sum(sum(day["jobs"].values()) for day in client.get("/v1/usage").json()["data"])


def keeper(table: Table) -> Reaper:
    return Reaper(table.store, table.maintenance, table.object_store, table.finalizer)


def away(settings: Settings) -> ObjectStore:
    return ObjectStore(settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{free_ports()}"}), tries=1)


# ── an Idempotency-Key after the end of its job ──


def test_a_key_is_refused_after_its_job_was_deleted(client: TestClient, table: Table) -> None:
    job_id = post(client, headers=KEY)
    finish(table, job_id)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    reply = client.post("/v1/jobs", json=HELLO, headers=KEY)
    assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_conflict")
    assert "send a new key" in reply.json()["detail"]
    assert post(client, headers={"Idempotency-Key": "order-18"}) != job_id


@pytest.mark.parametrize("body", [HELLO, OTHER], ids=["same body", "other body"])
def test_no_request_gets_the_result_of_an_expired_one(
    client: TestClient, table: Table, body: dict[str, object]
) -> None:
    """The bucket's lifecycle rules delete an old request before its result."""
    job_id = post(client, headers=KEY)
    finish(table, job_id, "the old answer")
    forget(table, job_id)
    table.object_store.delete(object_keys.request_key(job_id))
    assert client.post("/v1/jobs", json=body, headers=KEY).status_code == 422
    table.object_store.delete_prefix(object_keys.IDEMPOTENCY)  # the rules delete this object as well
    again = client.post("/v1/jobs", json=body, headers=KEY)
    assert again.status_code == 202
    assert again.json()["id"] != job_id
    finish(table, again.json()["id"], "the new answer")
    assert client.get(again.headers["location"]).json()["output"]["answer"] == "the new answer"


def test_the_result_of_a_frozen_worker_is_not_the_result_of_a_later_job(client: TestClient, table: Table) -> None:
    first = post(client, headers=KEY)
    frozen = claim(table, first)
    table.expire_lease(first)
    keeper(table).run_maintenance()
    finish(table, first, "from the second worker")
    client.delete(f"/v1/jobs/{first}")
    table.object_store.put_if_absent(object_keys.result_key(first), completed(frozen, "late").to_json())
    second = post(client, headers={"Idempotency-Key": "new"})
    finish(table, second, "its own")
    assert client.get(f"/v1/jobs/{second}").json()["output"]["answer"] == "its own"
    connect(table.settings).zincrby(keys.REMOVED, -(10**9), first)
    keeper(table).run_cleanup()
    assert not [key for key in table.object_store.list_keys("") if first in key]


def test_a_repeat_during_recovery_is_told_to_wait(client: TestClient, table: Table) -> None:
    job_id = post(client, headers=KEY)
    finish(table, job_id)
    redis = connect(table.settings)
    redis.delete(keys.job(job_id))
    redis.set(keys.RECONCILED, "an earlier run")  # as after a restart without the last second
    reply = client.post("/v1/jobs", json=HELLO, headers=KEY)
    assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
    recover(table.settings)
    assert post(client, headers=KEY) == job_id


def test_a_library_retry_during_recovery_is_told_to_wait(client: TestClient, table: Table) -> None:
    job_id = post(client, headers={"x-stainless-retry-count": "0"})
    redis = connect(table.settings)
    redis.delete(keys.job(job_id))
    redis.set(keys.RECONCILED, "an earlier run")
    assert client.post("/v1/jobs", json=HELLO, headers={"x-stainless-retry-count": "1"}).status_code == 503
    recover(table.settings)
    assert post(client, headers={"x-stainless-retry-count": "1"}) == job_id


# ── attempts that fail ──


def test_a_withdrawn_job_ends_unseen_although_a_worker_has_it(client: TestClient, table: Table) -> None:
    """The record was created but the reply was lost, and a worker was faster than the withdrawal."""
    job_id = post(client)
    job = claim(table, job_id)
    assert Acceptance(table.store, table.object_store).withdraw(job_id, is_shared=False)
    with pytest.raises(ClaimLost):
        table.finalizer.finalize(completed(job), expect="owner")
    assert visible_jobs(client) == []
    assert usage(client) == 0
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert not connect(table.settings).exists(keys.job(job_id))
    assert connect(table.settings).hget(keys.tenant("default"), "open_jobs") == "0"


def test_a_job_that_redis_created_late_is_dropped_by_its_worker(client: TestClient, table: Table) -> None:
    """Redis was frozen: it creates the record after the client got its error, and forgot the withdrawal."""
    job_id = post(client)
    Acceptance(table.store, table.object_store).withdraw(job_id, is_shared=False)
    connect(table.settings).delete(keys.REMOVED, keys.WITHDRAWALS)
    table.accept(job_id, events=("completed", "failed"))
    with pytest.raises(ClaimLost):
        table.finalizer.finalize(completed(claim(table, job_id)), expect="owner")
    assert table.store.get(job_id) is None
    assert usage(client) == 0
    assert table.deliveries.claim_due(claim="k", limit=10) == []


def test_a_request_that_is_stored_late_is_not_recovered(client: TestClient, table: Table) -> None:
    job_id = post(client)
    request = table.object_store.get(object_keys.request_key(job_id))
    Acceptance(table.store, table.object_store).withdraw(job_id, is_shared=False)
    table.object_store.put(object_keys.request_key(job_id), request)
    connect(table.settings).flushdb()
    assert recover(table.settings) == RecoveryReport(requests=1)
    assert visible_jobs(client) == []


def test_while_the_object_store_is_away_redis_refuses_a_withdrawn_job(client: TestClient, table: Table) -> None:
    job_id = post(client)
    request = table.object_store.get(object_keys.request_key(job_id))
    assert Acceptance(table.store, away(table.settings)).withdraw(job_id, is_shared=False)
    redis = connect(table.settings)
    redis.set(keys.RECONCILED, "an earlier run")
    assert recover(table.settings) == RecoveryReport(requests=1)
    assert table.store.get(job_id) is None

    keeper(table).run_cleanup()
    table.object_store.put(object_keys.request_key(job_id), request)  # the slow PUT
    redis.flushdb()
    assert recover(table.settings) == RecoveryReport(requests=1)
    assert table.store.get(job_id) is None


def test_a_job_that_has_ended_is_not_withdrawn(client: TestClient, table: Table) -> None:
    job_id = post(client)
    finish(table, job_id)
    assert not Acceptance(table.store, table.object_store).withdraw(job_id, is_shared=False)
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"


def test_a_job_that_a_repeat_was_answered_with_is_not_withdrawn(client: TestClient, table: Table) -> None:
    job_id = post(client, headers=KEY)
    assert post(client, headers=KEY) == job_id
    assert not Acceptance(table.store, table.object_store).withdraw(job_id, is_shared=True)
    finish(table, job_id)
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"


@pytest.mark.parametrize("steps", ["all", "decision only"])
def test_a_repeat_after_a_withdrawal_gets_a_new_job(client: TestClient, table: Table, steps: str) -> None:
    first = post(client, headers=KEY)
    if steps == "all":
        Acceptance(table.store, table.object_store).withdraw(first, is_shared=True)
    else:  # the api process died in between
        table.object_store.put(object_keys.decision_key(first), b'{"v": 1, "decision": "withdrawn"}')
    second = post(client, headers=KEY)
    assert second != first
    assert post(client, headers=KEY) == second
    assert visible_jobs(client) == [second]
    keeper(table).run_cleanup()
    connect(table.settings).flushdb()
    assert recover(table.settings).waiting == 1
    assert visible_jobs(client) == [second]
    assert post(client, headers=KEY) == second


def test_a_keyed_request_without_its_key_is_not_recovered(client: TestClient, table: Table) -> None:
    """Its api process died before it stored which job the key has; a repeat creates another job."""
    job_id = post(client, headers=KEY)
    table.object_store.delete_prefix(object_keys.IDEMPOTENCY)
    connect(table.settings).flushdb()
    assert recover(table.settings) == RecoveryReport(requests=1)
    assert post(client, headers=KEY) != job_id


def test_a_repeat_completes_an_attempt_whose_process_died(client: TestClient, table: Table) -> None:
    job_id = post(client, headers=KEY)
    redis = connect(table.settings)
    redis.delete(keys.job(job_id))
    table.store.integrity.mark_reconciled(table.store.integrity.server_clock()[0])
    assert post(client, headers=KEY) == job_id
    finish(table, job_id)


# ── delete beside a keeper or a recovery ──


class Interrupted(ObjectStore):
    """Runs an action once, at the first call for a key."""

    def __init__(self, settings: Settings, key: str, action: Callable[[], object], *, after: bool) -> None:
        super().__init__(settings)
        self._key, self._action, self._after = key, action, after

    def _at(self, key: str, *, after: bool) -> None:
        if key == self._key and after == self._after:
            self._key = ""
            self._action()

    def get(self, key: str, *, max_bytes: int = MAX_BYTES) -> bytes:
        data = super().get(key, max_bytes=max_bytes)
        self._at(key, after=True)
        return data

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        self._at(key, after=False)
        super().put(key, data, content_type)


def test_recovery_does_not_restore_a_job_that_is_deleted_meanwhile(client: TestClient, table: Table) -> None:
    job_id = post(client)
    finish(table, job_id)
    redis = connect(table.settings)
    row = redis.hgetall(keys.job(job_id))

    def delete() -> None:
        redis.hset(keys.job(job_id), mapping=row)  # type: ignore[arg-type]
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204

    redis.delete(keys.job(job_id))
    store = Interrupted(table.settings, object_keys.result_key(job_id), delete, after=True)
    Recovery(redis, store, table.settings).run()
    assert visible_jobs(client) == []
    assert not [key for key in table.object_store.list_keys("") if job_id in key]


def test_an_archive_that_was_read_before_a_delete_is_not_left_behind(client: TestClient, table: Table) -> None:
    job_id = post(client)
    finish(table, job_id)
    store = Interrupted(
        table.settings, object_keys.events_key(job_id), lambda: client.delete(f"/v1/jobs/{job_id}"), after=False
    )
    EventArchive(table.store, store).archive(job_id)
    assert not [key for key in table.object_store.list_keys("") if job_id in key]


def test_a_cancel_beside_a_delete_leaves_nothing(client: TestClient, table: Table) -> None:
    job_id = post(client)
    job = claim(table, job_id)
    finalizer = table.finalizer

    class Late(ObjectStore):
        def put_if_absent(self, key: str, data: bytes, *args: object, **options: object) -> bool:
            if key == object_keys.cancel_key(job_id):
                finalizer.finalize(completed(job), expect="owner")
                client.delete(f"/v1/jobs/{job_id}")
            return super().put_if_absent(key, data)

    JobFinalizer(table.store, Late(table.settings), retention_days=1).cancel(job)
    assert not [key for key in table.object_store.list_keys("") if job_id in key]


def test_a_delete_removes_settled_deliveries_and_what_is_written_late(client: TestClient, table: Table) -> None:
    job_id = post(client, headers=KEY)
    assert post(client, headers=KEY) == job_id
    finish(table, job_id)
    settled = [f"deliveries/evt_{job_id}_completed.json", f"deliveries/copy_{job_id}_0.json"]
    for key in settled:
        table.object_store.put(key, b"{}")
    other = f"deliveries/evt_{job_id}X_completed.json"
    table.object_store.put(other, b"{}")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert [key for key in table.object_store.list_keys("") if job_id in key] == [other]

    for key in [*settled, f"jobs/{job_id}/a1-x/late.png", object_keys.events_key(job_id)]:
        table.object_store.put(key, b"{}")
    keeper(table).run_cleanup()
    connect(table.settings).zincrby(keys.REMOVED, -(10**9), job_id)
    keeper(table).run_cleanup()
    assert [key for key in table.object_store.list_keys("") if job_id in key] == [other]
    assert connect(table.settings).zcard(keys.REMOVED) == 0


def test_requests_of_the_previous_version_are_read() -> None:
    request = JobRequest("job_a", "t", "default", 1, 2, "f", [], 0, 1, {}, 5)
    document = request.to_json().replace(b', "key_object": null', b"")
    assert JobRequest.from_json(document) == request
