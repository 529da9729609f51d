"""What clients do with accepted jobs: list, cancel, retry, delete; uploads, models and usage."""

import time
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from jobs.lifecycle.end.archive import EventArchive
from jobs.model.job import JobStatus, Stage
from jobs.table import keys
from jobs.table.scripts import connect
from testing.api import HELLO, inline_picture
from testing.table import Table, completed
from worker.keeper.reaper import Reaper


def post(client: TestClient, **more: Any) -> str:
    reply = client.post("/v1/jobs", json={**HELLO, **more})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def finish(table: Table, job_id: str) -> None:
    """Claim the waiting jobs up to ``job_id``, and complete that one."""
    while claimed := table.claim(Stage.PREPARE):
        if claimed.job.id == job_id:
            table.finalizer.finalize(completed(claimed.job), expect="owner")
            return
    raise AssertionError("the job is not in the queue")


def test_lists_have_pages_and_filters(client: TestClient, table: Table) -> None:
    ids = []
    for number in range(7):
        ids.append(post(client, metadata={"set": "odd" if number % 2 else "even", "all": "yes"}))
        time.sleep(0.002)
    finish(table, ids[0])

    first = client.get("/v1/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in first["data"]] == ids[:3:-1]
    assert first["has_more"]
    second = client.get("/v1/jobs", params={"limit": 10, "after": first["last_id"]}).json()
    assert [job["id"] for job in second["data"]] == ids[3::-1]
    assert not second["has_more"]

    def listed(**params: Any) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=params).json()["data"]]

    assert listed(status="completed") == [ids[0]]
    assert listed(status=["completed", "preparing"]) == ids[::-1]
    assert listed(**{"metadata[set]": "odd"}) == ids[5::-2]
    assert listed(**{"metadata[set]": "even", "metadata[all]": "yes", "status": "completed"}) == [ids[0]]
    assert listed(**{"metadata[set]": "none"}) == []
    middle = table.store.get(ids[3])
    assert middle is not None
    assert listed(created_from=middle.created_ms / 1000) == ids[:2:-1]
    assert listed(created_before=middle.created_ms / 1000) == ids[2::-1]
    assert client.get("/v1/jobs", params={"after": "job_unknown"}).json()["errors"][0]["pointer"] == "query:after"
    assert client.get("/v1/jobs", params={"limit": 101}).status_code == 422


def test_a_waiting_job_is_cancelled_at_once(client: TestClient, table: Table) -> None:
    job_id = post(client)
    job = client.post(f"/v1/jobs/{job_id}/cancel").json()
    assert (job["status"], job["error"]["code"]) == ("cancelled", "cancelled")
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    assert table.claim(Stage.PREPARE) is None


def test_the_worker_of_a_claimed_job_gets_the_cancel_signal(client: TestClient, table: Table) -> None:
    job_id = post(client)
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "preparing"
    assert table.store.append(job_id, claimed.job.claim, [], tokens=0) == "cancel"


def test_a_cancelled_job_stays_cancelled_when_its_worker_is_lost(client: TestClient, table: Table) -> None:
    job_id = post(client)
    table.claim(Stage.PREPARE)
    client.post(f"/v1/jobs/{job_id}/cancel")
    table.expire_lease(job_id)
    Reaper(table.store, table.maintenance, table.object_store, table.finalizer).run_maintenance()
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


def test_only_an_ended_job_can_be_deleted_and_nothing_of_it_remains(client: TestClient, table: Table) -> None:
    content = [{"type": "image_url", "image_url": {"url": inline_picture()}}]
    body = {"messages": [{"role": "user", "content": content}], "callback": {"url": "https://example.com/"}}
    job_id = post(client, **body)
    assert client.delete(f"/v1/jobs/{job_id}").json()["code"] == "job_not_ended"
    finish(table, job_id)
    EventArchive(table.store, table.object_store).archive(job_id)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert table.object_store.list_keys("") == []
    redis = connect(table.settings)
    assert [key for key in redis.scan_iter("*") if job_id in key] == []
    assert client.get("/v1/jobs").json()["data"] == []
    assert table.deliveries.claim_due(claim="k", limit=10) == []


def test_a_retry_is_a_new_job_with_copies_of_the_media(client: TestClient, table: Table) -> None:
    content = [{"type": "image_url", "image_url": {"url": inline_picture()}}]
    first = post(client, messages=[{"role": "user", "content": content}], sampling={"seed": 5})
    assert client.post(f"/v1/jobs/{first}/retry").json()["code"] == "job_not_ended"
    finish(table, first)
    headers = {"Idempotency-Key": "again"}
    reply = client.post(f"/v1/jobs/{first}/retry", headers=headers)
    assert reply.status_code == 202
    second = reply.json()
    assert second["retried_from"] == first
    assert client.post(f"/v1/jobs/{first}/retry", headers=headers).json()["id"] == second["id"]
    client.delete(f"/v1/jobs/{first}")
    assert len(table.object_store.list_keys(f"jobs/{second['id']}/media/")) == 1
    assert client.get(f"/v1/jobs/{second['id']}").status_code == 200


def test_retention_seconds_shortens_the_retention_of_a_job(client: TestClient, table: Table) -> None:
    job_id = post(client, retention_seconds=60)
    finish(table, job_id)
    keeper = Reaper(table.store, table.maintenance, table.object_store, table.finalizer)
    keeper.run_cleanup()
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
    connect(table.settings).zincrby(keys.REMOVALS, -60_000, job_id)
    keeper.run_cleanup()
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert table.object_store.list_keys("") == []
    too_long = client.post("/v1/jobs", json={**HELLO, "retention_seconds": 10**9})
    assert too_long.json()["errors"][0]["pointer"] == "/retention_seconds"


def test_a_retry_by_the_client_library_creates_no_second_job(client: TestClient) -> None:
    """OpenAI's client repeats a request after a lost reply without a key; it only counts the attempts."""
    first = client.post("/v1/jobs", json=HELLO, headers={"x-stainless-retry-count": "0"})
    again = client.post("/v1/jobs", json=HELLO, headers={"x-stainless-retry-count": "1"})
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    meant = client.post("/v1/jobs", json=HELLO)
    assert meant.json()["id"] != first.json()["id"]


def test_prefer_wait_replies_with_202_or_with_the_ended_job(client: TestClient, table: Table) -> None:
    reply = client.post("/v1/jobs", json=HELLO, headers={"Prefer": "wait=1"})
    assert reply.status_code == 202
    assert reply.headers["preference-applied"] == "wait=1"
    job_id = post(client, metadata={"a": "b"})
    client.post(f"/v1/jobs/{job_id}/cancel")
    headers = {"Idempotency-Key": "k", "Prefer": "wait=5"}
    keyed = client.post("/v1/jobs", json=HELLO, headers={"Idempotency-Key": "k"}).json()["id"]
    client.post(f"/v1/jobs/{keyed}/cancel")
    reply = client.post("/v1/jobs", json=HELLO, headers=headers)
    assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
    reply = client.post("/v1/jobs", json=HELLO, headers={"Prefer": "respond-async"})
    assert reply.headers["preference-applied"] == "respond-async"


def test_usage_counts_each_ended_job_once(client: TestClient, table: Table) -> None:
    job_id = post(client)
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    amounts = {"input_tokens": 10, "thinking_tokens": 20, "answer_tokens": 3, "gpu_seconds": 1.5}
    result = completed(claimed.job)
    result.usage.update(amounts)
    table.finalizer.finalize(result, expect="owner")
    table.finalizer.finalize_from_result(job_id)
    client.post(f"/v1/jobs/{post(client)}/cancel")
    (day,) = client.get("/v1/usage").json()["data"]
    assert day["jobs"] == {"cancelled": 1, "completed": 1, "expired": 0, "failed": 0}
    assert {name: day[name] for name in amounts} == amounts
    assert client.get("/v1/usage", params={"first": "2020-01-01"}).json()["errors"][0]["pointer"] == "query:first"


def test_models_reports_the_limits_of_a_job(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == "pocket"
    assert model["context_tokens"] == 2_048
    assert client.get("/v1/models/pocket").json() == model
    assert client.get("/v1/models/gpt-4").status_code == 404


def test_an_upload_goes_to_the_object_store_and_jobs_get_copies(client: TestClient, table: Table) -> None:
    data = b"x" * 1_000
    upload = client.post("/v1/uploads", json={"bytes": 1_000}).json()
    where = {"messages": [{"role": "user", "content": [image(f"upload:{upload['id']}")]}]}
    reply = client.post("/v1/jobs", json=where)
    assert "not sent" in reply.json()["errors"][0]["message"]
    assert httpx.put(upload["url"], content=data + b"y", timeout=5).status_code == 403
    assert httpx.put(upload["url"], content=data, timeout=5).status_code == 200
    job_id = post(client, **where)
    (key,) = table.object_store.list_keys(f"jobs/{job_id}/media/")
    assert table.object_store.get(key) == data
    # The job's copy does not change with the upload.
    httpx.put(upload["url"], content=b"z" * 1_000, timeout=5)
    assert table.object_store.get(key) == data


def test_a_large_upload_has_several_parts(client: TestClient, table: Table) -> None:
    size = 65 * 2**20
    upload = client.post("/v1/uploads", json={"bytes": size}).json()
    assert upload["url"] is None
    assert len(upload["part_urls"]) == 5
    etags = []
    for number, url in enumerate(upload["part_urls"]):
        length = min(upload["part_bytes"], size - number * upload["part_bytes"])
        etags.append(httpx.put(url, content=bytes([number]) * length, timeout=20).headers["etag"])
    complete = f"/v1/uploads/{upload['id']}/complete"
    assert client.post(complete, json={"etags": etags[:4]}).json()["errors"][0]["pointer"] == "/etags"
    assert client.post(complete, json={"etags": etags}).status_code == 200
    assert table.object_store.size(f"uploads/default/{upload['id']}/data") == size
    reply = client.post("/v1/jobs", json={"messages": [{"role": "user", "content": [image(f"upload:{upload['id']}")]}]})
    assert "the limit is" in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize("name", ["upload:upload_00000000000000000000000000", "upload:../../keys", "upload:"])
def test_an_unknown_upload_is_refused_with_its_location(client: TestClient, name: str) -> None:
    reply = client.post("/v1/jobs", json={"messages": [{"role": "user", "content": [image(name)]}]})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/messages/0/content/0/image_url/url"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_the_api_documents_every_job_status() -> None:
    from typing import get_args

    from api.schemas.jobs import Status

    assert set(get_args(Status)) == {status.value for status in JobStatus}
