"""Requests and results through the cache, with the store's GETs counted in the log of the HTTP client."""

import logging
import re
import threading

import pytest
from fastapi.testclient import TestClient

from jobs.errors import NotFound, ObjectStoreUnavailable
from jobs.lifecycle.end.deletion import delete_job
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job
from jobs.objects.documents import CorruptDocument
from jobs.objects.keys import request_key
from jobs.objects.reader import MAX_ENTRY_SHARE, DocumentCache, DocumentReader
from jobs.objects.store import ObjectStore
from testing.api import HELLO
from testing.table import Table, completed


@pytest.fixture
def gets(caplog: pytest.LogCaptureFixture) -> "Gets":
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    return Gets(caplog)


class Gets:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def threads(self) -> set[str | None]:
        return {record.threadName for record in self._caplog.records}

    def take(self) -> list[str]:
        """The keys that were read since the last call."""
        messages = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return [found[1] for message in messages if (found := re.search(r'"GET /[^/ ]+/(\S+) HTTP', message))]


def accept(table: Table, job_id: str, text: str = "Hi") -> Job:
    table.accept(job_id)
    table.object_store.put(request_key(job_id), request(job_id, text).to_json())
    job = table.store.get(job_id)
    assert job is not None
    return job


def request(job_id: str, text: str) -> JobRequest:
    return JobRequest(
        id=job_id,
        tenant="default",
        priority="default",
        created_ms=1,
        expires_ms=3_600_000,
        fingerprint=text,
        messages=[{"role": "user", "content": [{"type": "text", "text": text}]}],
        thinking_budget=16,
        max_answer_tokens=8,
        sampling={},
        seed=1,
    )


def test_a_request_is_read_from_the_store_once(table: Table, gets: Gets) -> None:
    job, reader = accept(table, "job_a"), DocumentReader(table.object_store)
    gets.take()
    for _ in range(5):
        assert reader.request(job).fingerprint == "Hi"
    assert gets.take() == ["requests/job_a.json"]


def test_a_result_is_read_once_and_only_after_the_job_has_ended(table: Table, gets: Gets) -> None:
    job, reader = table.running("job_a"), DocumentReader(table.object_store)
    gets.take()
    assert reader.result(job) is None
    assert gets.take() == []
    table.finalizer.finalize(completed(job), expect="owner")
    ended = table.store.get("job_a")
    assert ended is not None
    gets.take()
    for _ in range(3):
        result = reader.result(ended)
        assert result is not None
        assert result.output == completed(job).output
    assert gets.take() == ["results/job_a.json"]


def test_a_list_of_a_hundred_is_read_in_parallel_once_and_in_order(table: Table, gets: Gets) -> None:
    jobs = [accept(table, f"job_{number:03}", f"text {number}") for number in range(100)]
    reader = DocumentReader(table.object_store)
    gets.take()
    for _ in range(2):
        found = reader.requests(jobs)
        assert [one.fingerprint for one in found if one] == [f"text {number}" for number in range(100)]
    assert len(gets.threads) > 1
    assert sorted(gets.take()) == [f"requests/job_{number:03}.json" for number in range(100)]
    reader.close()


def test_a_list_says_none_for_a_job_whose_objects_have_expired(table: Table) -> None:
    jobs = [accept(table, "job_a"), accept(table, "job_b")]
    table.object_store.delete(request_key("job_a"))
    found = DocumentReader(table.object_store).requests(jobs)
    assert [one.id if one else None for one in found] == [None, "job_b"]


def test_a_deleted_job_is_not_in_the_cache(table: Table, gets: Gets) -> None:
    accept(table, "job_a")
    table.finalizer.cancel(table.store.get("job_a"))  # type: ignore[arg-type]
    ended = table.store.get("job_a")
    assert ended is not None
    cache = DocumentCache()
    reader = DocumentReader(table.object_store, cache)
    reader.request(ended), reader.result(ended)
    assert cache.size[0] == 2
    delete_job(table.store, table.object_store, "job_a")
    reader.forget(ended)
    assert cache.size == (0, 0)
    with pytest.raises(NotFound):
        reader.request(ended)


def test_errors_are_the_same_for_every_document(table: Table) -> None:
    job, reader = accept(table, "job_a"), DocumentReader(table.object_store)
    table.object_store.put(request_key("job_a"), b'{"v": 1}')
    with pytest.raises(CorruptDocument, match=r"requests/job_a\.json"):
        reader.request(job)
    table.object_store.delete(request_key("job_a"))
    with pytest.raises(NotFound, match="outlived"):
        reader.request(job)
    down = ObjectStore(table.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(ObjectStoreUnavailable):
        DocumentReader(down).request(job)


def test_the_cache_keeps_the_most_recent_entries_within_its_bounds() -> None:
    cache = DocumentCache(max_bytes=100 * MAX_ENTRY_SHARE, max_entries=3)
    for number in range(3):
        cache.put((f"{number}", 0), b"x")
    assert cache.get(("0", 0)) == b"x"
    cache.put(("3", 0), b"y")
    assert cache.size == (3, 3)
    assert [cache.get((f"{number}", 0)) is not None for number in range(4)] == [True, False, True, True]


def test_the_cache_bounds_its_bytes_and_refuses_large_entries() -> None:
    cache = DocumentCache(max_bytes=10 * MAX_ENTRY_SHARE, max_entries=1_000)
    cache.put(("large", 0), bytes(11))
    assert cache.size == (0, 0)
    for number in range(20):
        cache.put((f"{number}", 0), bytes(10))
    assert cache.size == (MAX_ENTRY_SHARE, 10 * MAX_ENTRY_SHARE)
    cache.put(("19", 0), bytes(4))
    assert cache.size == (MAX_ENTRY_SHARE, 10 * MAX_ENTRY_SHARE - 6)


def test_threads_share_the_cache_without_losing_count() -> None:
    cache = DocumentCache(max_bytes=100 * MAX_ENTRY_SHARE, max_entries=50)

    def work(offset: int) -> None:
        for number in range(2_000):
            key = (str((number * 7 + offset) % 90), 0)
            if cache.get(key) is None:
                cache.put(key, bytes(10))
            if number % 5 == 0:
                cache.discard(key)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    entries, size = cache.size
    assert entries <= 50
    assert size == entries * 10


def test_a_second_poll_and_a_list_read_no_object(client: TestClient, gets: Gets) -> None:
    job_id = client.post("/v1/jobs", json=HELLO).json()["id"]
    first = client.get(f"/v1/jobs/{job_id}").json()
    gets.take()
    assert client.get(f"/v1/jobs/{job_id}").json() == first
    assert gets.take() == []
    listed = client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    assert [job["id"] for job in listed] == [job_id]
    assert gets.take() == []
