"""The service's figures, against a real Valkey."""

import pytest

from jobs.deliveries import Attempt
from jobs.figures import FiguresReader
from jobs.record import Stage
from jobs.replies import Worker
from jobs.scripts import connect
from tests.fixtures.table import Table, completed


@pytest.fixture
def reader(table: Table) -> FiguresReader:
    return FiguresReader(connect(table.settings))


def test_an_empty_table_has_figures(reader: FiguresReader) -> None:
    figures = reader.read()
    gpu = figures.stages[Stage.GPU]
    assert (gpu.waiting, gpu.held, gpu.job_s, gpu.slots, gpu.workers) == (0, 0, 0, 0, ())
    assert (figures.deliveries_open, figures.oldest_delivery_s, figures.totals) == (0, 0, {})
    assert figures.memory_used > 0


def test_jobs_are_counted_where_they_are(table: Table, reader: FiguresReader) -> None:
    table.accept("job_a", lane="high")
    table.accept("job_b")
    table.claim(Stage.PREPARE)
    figures = reader.read()
    prepare = figures.stages[Stage.PREPARE]
    assert {name: lane.waiting for name, lane in prepare.lanes.items()} == {"high": 0, "default": 1, "low": 0}
    assert prepare.held == 1
    assert prepare.arrivals_per_s == pytest.approx(2 / 300, rel=0.05)
    assert figures.must_start[3600] == 2
    assert figures.must_start[900] == 0

    table.claim(Stage.PREPARE)
    table.queued("job_c")
    assert reader.read().stages[Stage.GPU].waiting == 1


def test_a_clock_that_was_set_back_makes_no_crowd_of_two_jobs(table: Table, reader: FiguresReader) -> None:
    table.accept("job_a")
    connect(table.settings).hincrby("arrivals:prepare", "at", 3_600_000)
    table.accept("job_b")
    assert reader.read().stages[Stage.PREPARE].arrivals_per_s == pytest.approx(2 / 300, rel=0.05)


def test_ends_deliveries_and_pace_are_counted_once(table: Table, reader: FiguresReader) -> None:
    job = table.running("job_a", events=("completed",))
    for _ in range(2):
        table.ending.end(completed(job), expect="owner")
    figures = reader.read()
    assert figures.totals["completed:"] == 1
    assert figures.stages[Stage.GPU].job_s < 5
    assert (figures.deliveries_open, figures.deliveries_due) == (1, 1)
    due = table.deliveries.take(claim="c", limit=1)[0]
    assert reader.read().deliveries_due == 0
    attempt = Attempt(at="", status=200, error=None, latency_ms=1, reply="")
    table.deliveries.settle(due.id, claim="c", state="delivered", attempt=attempt, wait_ms=0, retention_ms=1000)
    assert reader.read().deliveries_open == 0


def test_a_lost_worker_is_counted(table: Table, reader: FiguresReader) -> None:
    job = table.running("job_a")
    table.let_lease_run_out("job_a")
    table.upkeep.requeue(job)
    assert reader.read().totals["lost:gpu"] == 1


def test_workers_are_shown_with_what_they_tell(table: Table, reader: FiguresReader) -> None:
    table.store.heartbeat(Worker("w1", "gpu", "starting", 8, 8), {})
    table.store.heartbeat(Worker("k1", "keeper", "ready", 0, 0), {})
    figures = reader.read()
    gpu = figures.stages[Stage.GPU]
    assert [(worker.id, worker.state, worker.slots) for worker in gpu.workers] == [("w1", "starting", 8)]
    assert (gpu.slots, figures.keepers) == (0, 1)
    table.store.heartbeat(Worker("w1", "gpu", "ready", 8, 8), {})
    table.store.heartbeat(Worker("w1", "gpu", "gone", 8, 8), {})
    assert reader.read().stages[Stage.GPU].slots == 8, "remembered, for a start from zero"
