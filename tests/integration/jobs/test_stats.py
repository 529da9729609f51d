"""The statistics of the service, on a real Valkey."""

import re

import pytest

from jobs.model.failure_codes import FAILURES
from jobs.model.job import Stage
from jobs.service_metrics import TableCollector
from jobs.table import keys
from jobs.table.deliveries import DeliveryAttempt
from jobs.table.reports.stats import TURNAROUND_BOUNDS_S, StatsReader
from jobs.table.scripts import connect, script_source
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


def samples(table: Table, reader: StatsReader) -> dict[tuple[str, ...], float]:
    """Return the metrics of the job table by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in TableCollector(reader, table.settings).collect()
        for sample in family.samples
    }


def test_an_ended_job_is_in_the_bucket_of_its_time_since_the_acceptance(table: Table, reader: StatsReader) -> None:
    client = connect(table.settings)
    for job_id, age_ms in (("job_a", 0), ("job_b", 1_700_000), ("job_c", 10**9)):
        job = table.running(job_id)
        client.hincrby(keys.job(job_id), "created_ms", -age_ms)
        for _ in range(2):
            table.finalizer.finalize(completed(job), expect="owner")
    found = samples(table, reader)
    name = "thinkqueue_turnaround_seconds"
    buckets = {le: found[f"{name}_bucket", "default", "completed", le] for le in ("600", "1800", "86400", "+Inf")}
    assert buckets == {"600": 1, "1800": 2, "86400": 2, "+Inf": 3}
    assert found[f"{name}_sum", "default", "completed"] == pytest.approx(1_001_700, abs=30)
    assert found[f"{name}_count", "low", "expired"] == 0
    bounds = {field.split(":")[2] for field in reader.read().turnaround}
    assert bounds <= {*TURNAROUND_BOUNDS_S, "sum_ms"}


def test_the_buckets_of_turnaround_are_those_of_the_script() -> None:
    [bounds] = re.findall(r"TURNAROUND_BOUNDS_S = \{(.*)\}", script_source("finish"))
    assert (*re.findall(r"'([^']*)'", bounds), "+Inf") == TURNAROUND_BOUNDS_S


def test_every_failure_code_is_exported_before_its_first_job(table: Table, reader: StatsReader) -> None:
    name = "thinkqueue_jobs_ended_total"
    before = samples(table, reader)
    assert {before[name, "failed", code] for code in FAILURES if code not in ("cancelled", "expired")} == {0}
    assert (before[name, "completed", ""], before[name, "expired", "expired"]) == (0, 0)
    connect(table.settings).hset(
        keys.TOTALS, mapping={"failed:engine_error": 2, "failed:of_a_newer_version": 3, "failed:another": 4}
    )
    after = samples(table, reader)
    assert (after[name, "failed", "engine_error"], after[name, "failed", "other"]) == (2, 7)
    assert set(after) == set(before), "no code of another version adds a series"


def test_tenants_with_unsettled_deliveries_are_counted(table: Table, reader: StatsReader) -> None:
    for tenant in ("a", "a", "b"):
        job_id = f"job_{tenant}{len(table.deliveries.claim_due(claim='x', limit=9))}"
        table.finalizer.finalize(completed(table.running(job_id, tenant=tenant, events=("completed",))), expect="owner")
    assert samples(table, reader)["thinkqueue_delivery_tenants",] == 2
