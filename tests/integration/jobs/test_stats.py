"""The statistics of the service, on a real Valkey."""

import pytest

from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.deliveries import DeliveryAttempt
from jobs.table.scripts import connect
from jobs.table.stats import StatsReader
from jobs.table.types import WorkerStatus
from testing.table import Table, completed


@pytest.fixture
def reader(table: Table) -> StatsReader:
    return StatsReader(connect(table.settings), lease_s=table.settings.lease_s)


def test_an_empty_table_has_statistics(reader: StatsReader) -> None:
    stats = reader.read()
    generate = stats.stages[Stage.GENERATE]
    assert (generate.waiting, generate.in_progress, generate.job_s, generate.slots, generate.workers) == (
        0,
        0,
        0,
        0,
        (),
    )
    assert (stats.deliveries_open, stats.oldest_delivery_s, stats.totals) == (0, 0, {})
    assert stats.memory_used > 0


def test_jobs_are_counted_by_stage_and_priority(table: Table, reader: StatsReader) -> None:
    table.accept("job_a", priority="high")
    table.accept("job_b")
    table.claim(Stage.PREPARE)
    stats = reader.read()
    prepare = stats.stages[Stage.PREPARE]
    assert {name: priority.waiting for name, priority in prepare.priorities.items()} == {
        "high": 0,
        "default": 1,
        "low": 0,
    }
    assert prepare.in_progress == 1
    assert prepare.arrivals_per_s == pytest.approx(2 / 300, rel=0.05)
    assert stats.must_start[3600] == 2
    assert stats.must_start[900] == 0

    table.claim(Stage.PREPARE)
    table.queued("job_c")
    assert reader.read().stages[Stage.GENERATE].waiting == 1


def test_a_clock_that_is_set_back_does_not_raise_the_arrival_rate(table: Table, reader: StatsReader) -> None:
    table.accept("job_a")
    connect(table.settings).hincrby(keys.arrivals(Stage.PREPARE), "at", 3_600_000)
    table.accept("job_b")
    assert reader.read().stages[Stage.PREPARE].arrivals_per_s == pytest.approx(2 / 300, rel=0.05)


def test_ends_deliveries_and_durations_are_counted_once(table: Table, reader: StatsReader) -> None:
    job = table.running("job_a", events=("completed",))
    for _ in range(2):
        table.finalizer.finalize(completed(job), expect="owner")
    stats = reader.read()
    assert stats.totals["completed:"] == 1
    assert stats.stages[Stage.GENERATE].job_s < 5
    assert (stats.deliveries_open, stats.deliveries_due) == (1, 1)
    due = table.deliveries.claim_due(claim="c", limit=1)[0]
    assert reader.read().deliveries_due == 0
    attempt = DeliveryAttempt(at="", status=200, error=None, latency_ms=1, reply="")
    table.deliveries.settle(due.id, claim="c", state="delivered", attempt=attempt, wait_ms=0, retention_ms=1000)
    assert reader.read().deliveries_open == 0


def test_a_lost_lease_is_counted(table: Table, reader: StatsReader) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    table.maintenance.requeue(job)
    assert reader.read().totals["lost:generate"] == 1


def test_workers_are_listed_with_their_heartbeat(table: Table, reader: StatsReader) -> None:
    table.store.heartbeat(WorkerStatus("w1", "generate", "starting", 8, 8), {})
    table.store.heartbeat(WorkerStatus("k1", "keeper", "ready", 0, 0), {})
    stats = reader.read()
    generate = stats.stages[Stage.GENERATE]
    assert [(worker.id, worker.state, worker.slots) for worker in generate.workers] == [("w1", "starting", 8)]
    assert (generate.slots, stats.keepers) == (0, 1)
    table.store.heartbeat(WorkerStatus("w1", "generate", "ready", 8, 8), {})
    table.store.heartbeat(WorkerStatus("w1", "generate", "gone", 8, 8), {})
    assert reader.read().stages[Stage.GENERATE].slots == 8, "remembered, for a start from zero"
