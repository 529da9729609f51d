"""Uploads: what a job keeps of them, what a tenant may leave unused, and when they are deleted."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from jobs.errors import JobFailed, Unavailable
from jobs.lifecycle.upload_cleanup import UploadCleanup
from jobs.lifecycle.uploads import MAX_SINGLE_BYTES
from jobs.model.job import Stage
from jobs.objects.documents import load_json, load_request, save_json
from jobs.objects.keys import upload_meta_key
from jobs.objects.uploads import PART_BYTES
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.uploads import UploadLedger
from testing.api import client_of, inline_picture
from testing.table import Table, completed
from worker.prepare.deadline import Deadline
from worker.prepare.fetch import MediaFetcher, list_media
from worker.prepare.preparation import Preparation

LARGE = 9 * 2**20
"""More than one request may copy in the api."""


def send(client: TestClient, content: bytes) -> dict[str, Any]:
    """Upload a file in one piece."""
    upload: dict[str, Any] = client.post("/v1/uploads", json={"bytes": len(content)}).json()
    assert httpx.put(upload["url"], content=content, timeout=20).status_code == 200
    return upload


def with_images(*urls: str) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*content, {"type": "text", "text": "What?"}]}]}


def submit(client: TestClient, *urls: str, **headers: str) -> str:
    reply = client.post("/v1/jobs", json=with_images(*urls), headers=headers)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def fetch(table: Table, job_id: str, folder: Path) -> list[bytes]:
    """Fetch the media of a job as the prepare worker does; return the contents."""
    media = list_media(load_request(table.object_store, job_id).messages, folder)
    fetcher = MediaFetcher(table.object_store, table.settings)
    fetcher.start()
    try:
        fetcher.fetch(media, Preparation("a", Deadline(60), check=lambda: None))
    finally:
        fetcher.stop()
    return [item.path.read_bytes() for item in media]


def end_job(table: Table, job_id: str) -> None:
    """Complete a job without its stages."""
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert claimed.job.id == job_id
    table.finalizer.finalize(completed(claimed.job), expect="owner")


# ── copies ──


def test_a_large_upload_is_copied_by_the_prepare_worker(client: TestClient, table: Table, tmp_path: Path) -> None:
    content = bytes([1]) * LARGE
    job_id = submit(client, f"upload:{send(client, content)['id']}")
    assert table.object_store.list_keys(f"jobs/{job_id}/") == []
    assert fetch(table, job_id, tmp_path) == [content]
    (key,) = table.object_store.list_keys(f"jobs/{job_id}/media/")
    table.object_store.delete_prefix("uploads/")
    assert fetch(table, job_id, tmp_path) == [content], "the second attempt reads the job's own copy"
    assert table.object_store.size(key) == LARGE


def test_an_upload_that_changes_after_the_submission_fails_the_job(
    client: TestClient, table: Table, tmp_path: Path
) -> None:
    upload = send(client, bytes(LARGE))
    job_id = submit(client, f"upload:{upload['id']}")
    assert httpx.put(upload["url"], content=b"\1" * LARGE, timeout=20).status_code == 200
    with pytest.raises(JobFailed, match="Image 1 was changed") as error:
        fetch(table, job_id, tmp_path)
    assert error.value.failure_code == "media_changed"
    assert table.object_store.list_keys(f"jobs/{job_id}/") == []


def test_a_keyed_repeat_cannot_change_the_copy_of_the_first_request(
    client: TestClient, table: Table, tmp_path: Path
) -> None:
    upload = send(client, b"a" * 1_000)
    url, key = f"upload:{upload['id']}", {"Idempotency-Key": "k"}
    job_id = submit(client, url, **key)
    assert httpx.put(upload["url"], content=b"b" * 1_000, timeout=5).status_code == 200
    assert submit(client, url, **key) == job_id
    assert fetch(table, job_id, tmp_path) == [b"a" * 1_000]
    assert len(table.object_store.list_keys("jobs/")) == 1


def test_a_refused_request_leaves_no_objects(client: TestClient, table: Table) -> None:
    good = send(client, b"x" * 100)
    for bad in ("upload:upload_00000000000000000000000000", "data:image/png;base64,%%%"):
        reply = client.post("/v1/jobs", json=with_images(inline_picture(), f"upload:{good['id']}", bad))
        assert reply.status_code == 422
    assert table.object_store.list_keys("jobs/") == table.object_store.list_keys("requests/") == []


def test_a_retry_of_a_job_that_was_never_prepared_uses_the_upload(
    client: TestClient, table: Table, tmp_path: Path
) -> None:
    content = bytes(LARGE)
    job_id = submit(client, f"upload:{send(client, content)['id']}")
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    retry = client.post(f"/v1/jobs/{job_id}/retry").json()["id"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert fetch(table, retry, tmp_path) == [content]


def test_a_large_copy_for_a_retry_is_made_by_the_prepare_worker(
    client: TestClient, table: Table, tmp_path: Path
) -> None:
    content = bytes(LARGE)
    job_id = submit(client, f"upload:{send(client, content)['id']}")
    fetch(table, job_id, tmp_path)
    end_job(table, job_id)
    table.object_store.delete_prefix("uploads/")
    first, second = (str(client.post(f"/v1/jobs/{job_id}/retry").json()["id"]) for _ in range(2))
    assert fetch(table, first, tmp_path) == [content]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    with pytest.raises(JobFailed, match="no longer exists"):
        fetch(table, second, tmp_path)
    assert fetch(table, first, tmp_path) == [content]


# ── links ──


def test_each_link_of_a_part_accepts_one_exact_size(client: TestClient) -> None:
    size = MAX_SINGLE_BYTES + 5
    urls = client.post("/v1/uploads", json={"bytes": size}).json()["part_urls"]
    assert len(urls) == MAX_SINGLE_BYTES // PART_BYTES + 1
    for content in (b"1234", b"123456", bytes(2**20)):
        assert httpx.put(urls[-1], content=content, timeout=5).status_code == 403
    assert httpx.put(urls[-1], content=b"12345", timeout=5).status_code == 200


def test_completing_an_upload_can_be_repeated(client: TestClient) -> None:
    upload = client.post("/v1/uploads", json={"bytes": MAX_SINGLE_BYTES + 1}).json()
    sizes = [PART_BYTES] * (MAX_SINGLE_BYTES // PART_BYTES) + [1]
    etags = [
        httpx.put(url, content=bytes(size), timeout=20).headers["etag"]
        for url, size in zip(upload["part_urls"], sizes, strict=True)
    ]
    for _ in range(2):
        assert client.post(f"/v1/uploads/{upload['id']}/complete", json={"etags": etags}).status_code == 200


# ── limits ──


@pytest.fixture
def bounded(table: Table) -> Iterator[TestClient]:
    limits = {"max_open_uploads": 2, "max_open_upload_bytes": 5_000, "max_upload_bytes": 5_000}
    with client_of(table.settings.model_copy(update=limits)) as client:
        yield client


def test_unused_uploads_are_limited_by_number(bounded: TestClient) -> None:
    first = send(bounded, b"x" * 10)
    send(bounded, b"x" * 10)
    reply = bounded.post("/v1/uploads", json={"bytes": 10})
    assert (reply.status_code, reply.json()["code"]) == (429, "too_many_uploads")
    assert "You have 2 files and unused uploads; the limit is 2" in reply.json()["detail"]
    assert int(reply.headers["retry-after"]) > 0
    submit(bounded, f"upload:{first['id']}")
    assert bounded.post("/v1/uploads", json={"bytes": 10}).status_code == 201, "a job uses the first one now"


def test_unused_uploads_are_limited_by_size(bounded: TestClient) -> None:
    assert bounded.post("/v1/uploads", json={"bytes": 3_000}).status_code == 201
    reply = bounded.post("/v1/uploads", json={"bytes": 2_001})
    assert (reply.status_code, reply.json()["code"]) == (429, "too_many_uploads")
    assert "the limit is 4.89 KiB" in reply.json()["detail"]
    assert bounded.post("/v1/uploads", json={"bytes": 2_000}).status_code == 201


def test_a_refused_job_does_not_use_its_upload(bounded: TestClient) -> None:
    uploads = [send(bounded, b"x" * 10) for _ in range(2)]
    refused = {**with_images(f"upload:{uploads[0]['id']}"), "priority": "none"}
    assert bounded.post("/v1/jobs", json=refused).status_code == 422
    assert bounded.post("/v1/uploads", json={"bytes": 10}).status_code == 429


# ── deletion ──


@pytest.fixture
def cleanup(table: Table) -> UploadCleanup:
    return UploadCleanup(UploadLedger(connect(table.settings)), table.object_store)


def make_due(table: Table) -> None:
    """Let the keeper look at every upload now."""
    redis = connect(table.settings)
    for name in redis.zrange(keys.UPLOADS_DUE, 0, -1):
        redis.zadd(keys.UPLOADS_DUE, {str(name): 1})


def expire(table: Table, upload_id: str) -> None:
    """Change an upload into one that was created long ago."""
    key = upload_meta_key("default", upload_id)
    save_json(table.object_store, key, {**load_json(table.object_store, key), "created_ms": 1})


def test_uploads_that_were_not_sent_are_deleted_with_their_parts(
    client: TestClient, table: Table, cleanup: UploadCleanup
) -> None:
    parts = client.post("/v1/uploads", json={"bytes": MAX_SINGLE_BYTES + 5}).json()["part_urls"]
    assert httpx.put(parts[-1], content=b"12345", timeout=5).status_code == 200
    client.post("/v1/uploads", json={"bytes": 10})
    sent = send(client, b"x")
    cleanup.run()
    assert len(table.object_store.list_keys("uploads/")) == 4, "nothing is due yet"
    make_due(table)
    cleanup.run()
    assert {key.split("/")[2] for key in table.object_store.list_keys("uploads/")} == {sent["id"]}
    assert httpx.put(parts[-1], content=b"12345", timeout=5).status_code == 404
    redis = connect(table.settings)
    assert redis.zrange(keys.UPLOADS_DUE, 0, -1) == [f"default/{sent['id']}"]
    assert redis.hgetall(keys.open_uploads("default")) == {sent["id"]: "1"}


@pytest.mark.parametrize(
    "meta",
    [
        b"{",
        b"{}",
        b"[]",
        b'{"id": "u", "tenant": "x", "bytes": "x", "created_ms": "x"}',
        b'{"id": "u", "tenant": "x", "bytes": 1, "created_ms": 1, "multipart_id": 3}',
    ],
)
def test_an_upload_with_a_damaged_description_is_deleted(
    client: TestClient, table: Table, cleanup: UploadCleanup, meta: bytes
) -> None:
    damaged = client.post("/v1/uploads", json={"bytes": 10}).json()["id"]
    table.object_store.put(upload_meta_key("default", damaged), meta)
    make_due(table)
    cleanup.run()
    assert table.object_store.list_keys("uploads/") == []
    assert connect(table.settings).zrange(keys.UPLOADS_DUE, 0, -1) == []


def test_an_upload_whose_cleanup_fails_does_not_keep_others(
    client: TestClient, table: Table, cleanup: UploadCleanup
) -> None:
    """Its name in the ledger is not one that the object store accepts."""
    redis = connect(table.settings)
    redis.zadd(keys.UPLOADS_DUE, {"tenant/..": 1})
    client.post("/v1/uploads", json={"bytes": 10})
    redis.zadd(keys.UPLOADS_DUE, {str(name): 2 for name in redis.zrange(keys.UPLOADS_DUE, 1, -1)})
    for _ in range(2):
        with suppress(Unavailable):
            cleanup.run()
    assert table.object_store.list_keys("uploads/") == []
    assert (redis.zscore(keys.UPLOADS_DUE, "tenant/..") or 0) > time.time() * 1000, "it is tried again later"


def test_an_upload_is_kept_while_a_job_waits_that_has_no_copy(
    client: TestClient, table: Table, cleanup: UploadCleanup
) -> None:
    used, unused = (
        client.post("/v1/uploads", json={"bytes": LARGE}).json(),
        client.post("/v1/uploads", json={"bytes": 1}).json(),
    )
    assert httpx.put(used["url"], content=bytes(LARGE), timeout=20).status_code == 200
    assert httpx.put(unused["url"], content=b"x", timeout=20).status_code == 200
    submit(client, f"upload:{used['id']}")
    for upload in (used, unused):
        expire(table, upload["id"])
    redis = connect(table.settings)
    until_ms = redis.zscore(keys.UPLOADS_DUE, f"default/{used['id']}") or 0
    assert until_ms > time.time() * 1000 + table.settings.job_expires_s * 1000
    redis.zadd(keys.UPLOADS_DUE, {f"default/{unused['id']}": 1})
    cleanup.run()
    assert {key.split("/")[2] for key in table.object_store.list_keys("uploads/")} == {used["id"]}


def test_an_expired_upload_cannot_be_used_although_it_is_still_there(client: TestClient, table: Table) -> None:
    upload = send(client, b"x")
    expire(table, upload["id"])
    reply = client.post("/v1/jobs", json=with_images(f"upload:{upload['id']}"))
    assert reply.status_code == 422
    assert "has expired" in reply.json()["errors"][0]["message"]
