"""Lists of a tenant's jobs, and what Redis keeps of ended ones, on a real Valkey."""

from collections.abc import Iterator

import pytest
import redis

from jobs.lifecycle.end.deletion import delete_job
from jobs.model.job import Job, JobStatus, Stage
from jobs.table import keys
from jobs.table.reports.listing import labels
from jobs.table.scripts import connect
from testing.table import Table, completed

METADATA = {f"name{number}": "value" for number in range(16)}


@pytest.fixture
def client(table: Table) -> Iterator[redis.Redis]:
    with connect(table.settings) as client:
        yield client


def accept(
    table: Table, job_id: str, metadata: dict[str, str] | None = None, *, max_ended: int = 1000, index_ms: int = 10**9
) -> str:
    table.store.accept(
        job_id,
        tenant="t",
        priority="default",
        expires_ms=3_600_000,
        events=(),
        index_ms=index_ms,
        max_ended=max_ended,
        labels=labels(metadata or {}),
    )
    return job_id


def end(table: Table, job_id: str, *, is_archived: bool = True) -> Job:
    """End a waiting job as cancelled."""
    job = table.store.get(job_id)
    assert job is not None
    table.finalizer.finalize_orphan(job, JobStatus.CANCELLED, "cancelled", "", expect="unclaimed")
    if is_archived:
        table.store.mark_archived(job_id)
    return job


def listed(table: Table, **metadata: str) -> list[str]:
    found, cursor = [], ""
    while True:
        page = table.index.page("t", metadata=metadata, after=cursor, limit=7)
        found += [job.id for job in page.jobs]
        cursor = page.cursor
        if not page.has_more:
            return found


def expire_record(table: Table, client: redis.Redis, job_id: str) -> None:
    """Let the retention of an ended job be over."""
    client.delete(keys.job(job_id))
    client.zadd(keys.ended("t"), {job_id: 1})
    client.zadd(keys.EXPIRIES, {"t": 1})
    table.maintenance.forget_expired()


def test_a_list_keeps_old_jobs_when_a_job_with_a_short_deadline_is_added(table: Table, client: redis.Redis) -> None:
    accept(table, "job_old", {"color": "red"})
    for key in (keys.jobs("t"), keys.label("t", labels({"color": "red"})[0])):
        client.zincrby(key, -1_000_000, "job_old")
    accept(table, "job_new", {"color": "red"}, index_ms=1_000)
    assert listed(table) == listed(table, color="red") == ["job_new", "job_old"]
    assert client.pttl(keys.jobs("t")) > 1_000_000


def test_labels_leave_redis_with_their_job(table: Table, client: redis.Redis) -> None:
    before = set(client.keys())
    accept(table, "job_a", METADATA)
    end(table, "job_a")
    delete_job(table.store, table.object_store, "job_a")
    left = {str(key).partition(":")[0] for key in set(client.keys()) - before}
    of_all_jobs = {"tenant", "arrivals", "usage", "totals", "turnaround", "removed", "expiries", "virtual_time", "ends"}
    assert left <= of_all_jobs


def test_an_expired_record_leaves_the_lists(table: Table, client: redis.Redis) -> None:
    accept(table, "job_a", METADATA)
    accept(table, "job_b", METADATA)
    end(table, "job_a")
    expire_record(table, client, "job_a")
    hashes = labels(METADATA)
    assert [client.zrange(keys.label("t", digest), 0, -1) for digest in hashes] == [["job_b"]] * 16
    assert client.zrange(keys.jobs("t"), 0, -1) == ["job_b"]
    assert not client.exists(keys.job_labels("job_a"), keys.ended("t"), keys.EXPIRIES)


def test_the_oldest_ended_jobs_leave_redis_above_the_bound(table: Table, client: redis.Redis) -> None:
    for number in range(12):
        accept(table, f"job_{number:02}", METADATA, max_ended=4)
        end(table, f"job_{number:02}")
    accept(table, "job_open", max_ended=4)
    assert listed(table) == ["job_open", *(f"job_{number:02}" for number in range(11, 7, -1))]
    assert len(client.keys("label:t:*")) == 16
    assert len(client.keys("job:*")) == 5


def test_an_ended_job_stays_while_its_events_or_deliveries_need_it(table: Table) -> None:
    accept(table, "job_a", max_ended=1)
    end(table, "job_a", is_archived=False)
    table.store.accept("job_b", tenant="t", priority="default", expires_ms=10**6, events=("cancelled",), max_ended=1)
    end(table, "job_b")
    for number in range(3):
        end(table, accept(table, f"job_c{number}", max_ended=1))
    accept(table, "job_d", max_ended=1)
    assert {"job_a", "job_b"} <= set(listed(table))


def test_a_list_that_matches_nothing_looks_at_a_bounded_number_of_jobs(table: Table) -> None:
    for number in range(300):
        accept(table, f"job_{number:03}", METADATA)
    pages, cursor = 0, ""
    while True:
        page = table.index.page("t", metadata=METADATA, statuses=[JobStatus.PREPARING], after=cursor, limit=100)
        pages, cursor = pages + 1, page.cursor
        assert len(page.jobs) <= 100
        if not page.has_more:
            break
    assert pages >= 3, "300 jobs with 17 lookups each take several calls"


def test_pages_over_several_labels_contain_each_job_once(table: Table) -> None:
    """The list that is read may change from page to page, and many jobs have the same time."""
    wanted = []
    for number in range(40):
        metadata = {"a": "x"} if number % 3 else {"a": "x", "b": "y"}
        accept(table, f"job_{number:02}", metadata)
        if "b" in metadata:
            wanted.append(f"job_{number:02}")
    assert listed(table, a="x", b="y") == sorted(wanted, reverse=True)
    first = table.index.page("t", metadata={"a": "x", "b": "y"}, limit=5)
    for number in range(60, 90):
        accept(table, f"job_{number}", {"b": "y"})  # now the list of `a` is the shorter one
    second = table.index.page("t", metadata={"a": "x", "b": "y"}, after=first.cursor, limit=50)
    assert [job.id for job in (*first.jobs, *second.jobs)] == sorted(wanted, reverse=True)


def test_a_completed_job_is_forgotten_as_well(table: Table, client: redis.Redis) -> None:
    job = table.running("job_a", tenant="t")
    table.finalizer.finalize(completed(job), expect="owner")
    expire_record(table, client, "job_a")
    assert listed(table) == []
    assert not client.exists(keys.stream("job_a"))
    assert table.claim(Stage.GENERATE) is None
