"""The limits on open and waiting jobs, with parallel requests to two instances of the API."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from jobs.errors import TenantFull
from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.scripts import connect
from testing.api import HELLO, client_of
from testing.table import Table, completed

LIMIT = 12


def post(client: TestClient) -> tuple[int, str]:
    """Submit a job; return the status, and the text of an error."""
    reply = client.post("/v1/jobs", json=HELLO)
    return reply.status_code, str(reply.json().get("detail"))


def submit_in_parallel(clients: list[Callable[[], tuple[int, str]]], count: int) -> list[tuple[int, str]]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda number: clients[number % len(clients)](), range(count)))


@pytest.mark.parametrize("setting", ["max_open_jobs", "max_waiting_jobs"])
def test_parallel_requests_never_exceed_a_limit(table: Table, setting: str) -> None:
    settings = table.settings.model_copy(update={setting: LIMIT})
    with client_of(settings) as one, client_of(settings) as other:
        for client in (one, other):  # FastAPI prepares its models at the first request, which is not thread-safe
            assert client.post("/v1/jobs", json={}).status_code == 422
        clients = [lambda: post(one), lambda: post(other)]
        replies = submit_in_parallel(clients, 48)
    statuses = [status for status, _ in replies]
    assert (statuses.count(202), statuses.count(429)) == (LIMIT, 48 - LIMIT)
    refused = [detail for status, detail in replies if status == 429]
    assert all(f"{LIMIT} " in text for text in refused), refused
    assert connect(table.settings).hget(keys.tenant("default"), "open_jobs") == str(LIMIT)


def test_a_request_that_fails_gives_its_place_back(table: Table) -> None:
    settings = table.settings.model_copy(update={"max_open_jobs": 2})
    broken = {"messages": [{"role": "user", "content": [{"type": "image", "image_url": {"url": "upload://up_none"}}]}]}
    with client_of(settings) as client:
        for _ in range(5):
            assert client.post("/v1/jobs", json=broken).status_code in (404, 422)
        assert [client.post("/v1/jobs", json=HELLO).status_code for _ in range(3)] == [202, 202, 429]
    assert not connect(table.settings).exists(keys.RESERVED)


def test_a_key_with_a_lower_limit_counts_the_jobs_of_its_tenant(table: Table) -> None:
    admission = table.store.admission
    for number in range(5):
        admission.check(f"job_{number}", tenant="t", max_waiting=100, max_open=30)
    with pytest.raises(TenantFull, match="5 of your jobs"):
        admission.check("job_x", tenant="t", max_waiting=100, max_open=5)


def test_a_repeated_check_counts_its_job_once(table: Table) -> None:
    for _ in range(3):
        table.store.admission.check("job_a", tenant="t", max_waiting=100, max_open=1)


def test_the_wait_follows_from_how_fast_jobs_end(table: Table) -> None:
    redis = connect(table.settings)

    def wait_s() -> int:
        with pytest.raises(TenantFull) as full:
            table.store.admission.check("job_new", tenant="t", max_waiting=100, max_open=1)
        return full.value.retry_after_s

    table.accept("job_first", tenant="t")
    assert wait_s() == 30, "nothing is known yet"
    first = table.store.get("job_first")
    assert first is not None
    table.finalizer.cancel(first)
    for number in range(4):
        table.finalizer.finalize(completed(table.running(f"job_{number}", tenant="t")), expect="owner")
    table.accept("job_open", tenant="t")
    assert wait_s() == 1, "jobs end many times a second"
    redis.hset(keys.tenant("t"), "end_interval_ms", "20000")
    assert wait_s() == 20
    assert table.claim(Stage.PREPARE)


def test_ended_jobs_that_cannot_leave_redis_refuse_new_ones(table: Table) -> None:
    for number in range(3):
        table.store.accept(f"job_{number}", tenant="t", priority="default", expires_ms=10**6, events=("cancelled",))
        job = table.store.get(f"job_{number}")
        assert job is not None
        table.finalizer.cancel(job)
    with pytest.raises(TenantFull, match="3 of your ended jobs"):
        table.store.admission.check("job_x", tenant="t", max_waiting=100, max_ended=3)
