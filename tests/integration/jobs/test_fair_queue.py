"""The order in which the jobs of several tenants are claimed, on a real Valkey."""

import pytest

from jobs.model.documents.result import JobResult
from jobs.model.job import JobStatus, Stage
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.types import WorkerStatus
from testing.table import Table


def accept_many(table: Table, tenant: str, count: int) -> list[str]:
    return [table.accept(f"job_{tenant}{number:03}", tenant=tenant) for number in range(count)]


def next_tenants(table: Table, count: int) -> list[str]:
    """Claim and prepare jobs; return their tenants."""
    found = []
    for _ in range(count):
        claimed = table.claim(Stage.PREPARE)
        assert claimed is not None
        found.append(claimed.job.tenant)
        table.store.mark_prepared(
            claimed.job.id, claimed.job.claim, folder=f"a-{claimed.job.claim}", required_tokens=10, cost_s=1
        )
    return found


def position(table: Table, job_id: str) -> int | None:
    job = table.store.get(job_id)
    assert job is not None
    return table.index.position(job)


def cancel(table: Table, job_id: str) -> None:
    job = table.store.get(job_id)
    assert job is not None
    table.finalizer.cancel(job)


def test_cancelled_jobs_do_not_delay_their_tenants_next_job(table: Table) -> None:
    accept_many(table, "a", 30)
    for job_id in accept_many(table, "b", 20):
        cancel(table, job_id)
    table.accept("job_next", tenant="b")
    assert position(table, "job_next") in (0, 1)
    assert "b" in next_tenants(table, 2)


@pytest.mark.parametrize("end", [JobStatus.EXPIRED, JobStatus.FAILED])
def test_jobs_that_end_while_they_wait_are_not_charged(table: Table, end: JobStatus) -> None:
    """Also in the generate stage, where the estimate of a job is large."""
    for number in range(3):
        job_id = table.queued(f"job_b{number}", tenant="b", required_tokens=1000)
        job = table.store.get(job_id)
        assert job is not None
        table.finalizer.finalize_orphan(job, end, "expired", "", expect="unclaimed")
    for number in range(3):
        table.queued(f"job_a{number}", tenant="a", required_tokens=10)
    table.queued("job_next", tenant="b", required_tokens=10)
    claimed = [table.claim(Stage.GENERATE), table.claim(Stage.GENERATE)]
    assert "b" in [found.job.tenant for found in claimed if found]


def test_expensive_jobs_let_cheap_ones_of_another_tenant_pass(table: Table) -> None:
    """The cost applies to jobs that waited before it was known."""
    accept_many(table, "slow", 4)
    first = table.claim(Stage.PREPARE)
    assert first is not None
    table.store.mark_prepared(first.job.id, first.job.claim, folder="a1-x", required_tokens=10, cost_s=20)
    for number in range(15):
        table.accept(f"job_fast{number:02}", tenant="fast")
    order = next_tenants(table, 15)
    # The first one of the idle tenant starts at the virtual time, which is before those 20 seconds.
    assert order.count("slow") <= 1


def test_the_time_since_the_claim_is_the_cost_of_the_prepare_stage(table: Table) -> None:
    redis = connect(table.settings)
    table.accept("job_a", tenant="a")
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    redis.hincrby(keys.job("job_a"), "claimed_ms", -7_000)
    failed = JobResult.without_output(claimed.job, JobStatus.FAILED, "image_unreadable", "", claim=claimed.job.claim)
    table.finalizer.finalize(failed, expect="owner")
    service = float(redis.hget(keys.tenant("a"), "service:prepare:default") or 0)
    assert service == pytest.approx(7, abs=1)


def test_a_generated_job_is_charged_what_it_used(table: Table) -> None:
    redis = connect(table.settings)
    job = table.running("job_a", tenant="a", required_tokens=5_000)
    assert float(redis.hget(keys.tenant("a"), "service:generate:default") or 0) == 5_000
    result = JobResult("job_a", JobStatus.COMPLETED, 1, job.claim, output={}, usage={"answer_tokens": 40})
    table.finalizer.finalize(result, expect="owner")
    assert float(redis.hget(keys.tenant("a"), "service:generate:default") or 0) == 40


def test_a_released_job_is_charged_once(table: Table) -> None:
    redis = connect(table.settings)
    for _ in range(3):
        claimed = table.claim(Stage.GENERATE) if table.store.get("job_a") else None
        job = claimed.job if claimed else table.running("job_a", tenant="a", required_tokens=5_000)
        table.store.release("job_a", job.claim)
    assert float(redis.hget(keys.tenant("a"), "service:generate:default") or 0) == 0


def test_an_idle_tenant_saves_up_no_credit(table: Table) -> None:
    accept_many(table, "a", 20)
    next_tenants(table, 10)
    accept_many(table, "b", 10)
    assert next_tenants(table, 8).count("b") <= 5


def test_a_position_counts_the_jobs_that_start_before(table: Table) -> None:
    accept_many(table, "a", 6)
    accept_many(table, "b", 3)
    assert position(table, "job_a004") == 4 + 3
    assert position(table, "job_b000") in (0, 1)
    order = [found.job.id for _ in range(9) if (found := table.claim(Stage.PREPARE))]
    assert order.index("job_a004") == 7
    assert position(table, "job_a004") is None


def test_no_queue_is_left_when_all_jobs_are_claimed(table: Table) -> None:
    accept_many(table, "a", 2)
    for _ in range(2):
        assert table.claim(Stage.PREPARE)
    redis = connect(table.settings)
    assert not redis.exists(
        keys.queue("prepare", "default"),
        keys.tenant_queue("prepare", "default", "a"),
        keys.active_tenants("prepare", "default"),
    )


def test_a_worker_without_a_free_slot_claims_only_for_tenants_that_it_does_not_serve(table: Table) -> None:
    for name in ("a1", "a2"):
        table.queued(f"job_{name}", tenant="a")
    served = ["a", "c"]
    assert table.store.claim(Stage.GENERATE, claim="c1", worker="w", free_tokens=999, served_tenants=served) is None
    table.queued("job_b", tenant="b")
    claimed = table.store.claim(Stage.GENERATE, claim="c2", worker="w", free_tokens=999, served_tenants=served)
    assert claimed is not None
    assert claimed.job.id == "job_b"
    assert table.claim(Stage.GENERATE), "the other jobs keep their places"


def test_a_worker_without_a_free_slot_leaves_jobs_to_one_that_has_one(table: Table) -> None:
    table.queued("job_b", tenant="b")
    table.store.heartbeat(WorkerStatus("w", "generate", "ready", 4, 4), {})
    table.store.heartbeat(WorkerStatus("other", "generate", "ready", 4, 1), {})
    assert table.store.claim(Stage.GENERATE, claim="c1", worker="w", free_tokens=999, served_tenants=["a"]) is None
    table.store.heartbeat(WorkerStatus("other", "generate", "ready", 4, 0), {})
    assert table.store.claim(Stage.GENERATE, claim="c2", worker="w", free_tokens=999, served_tenants=["a"])


def test_a_full_worker_sends_a_wakeup_only_to_another_one(table: Table) -> None:
    """It would receive its own message, and send the next one, as long as it is full."""
    table.queued("job_b", tenant="b")
    table.store.heartbeat(WorkerStatus("w", "generate", "ready", 4, 4), {})
    assert table.store.needs_wakeup(Stage.GENERATE)
    assert not table.store.needs_wakeup(Stage.GENERATE, full_worker="w")
    table.store.heartbeat(WorkerStatus("other", "generate", "ready", 4, 1), {})
    assert table.store.needs_wakeup(Stage.GENERATE, full_worker="w")


def test_full_workers_get_no_wakeup_for_a_tenant_that_waits_already(table: Table) -> None:
    """They claim its next job when one of theirs ends. Each message took time that the engine needs."""
    table.store.heartbeat(WorkerStatus("w", "generate", "ready", 4, 0), {})
    for number in range(9):
        table.queued(f"job_a{number}", tenant="a")
    assert not table.store.needs_wakeup(Stage.GENERATE, tenant="a")
    assert table.store.needs_wakeup(Stage.GENERATE), "the keeper's round sends one all the same"
    table.queued("job_b", tenant="b")
    assert table.store.needs_wakeup(Stage.GENERATE, tenant="b"), "a worker may serve it less than tenant a"
    table.store.heartbeat(WorkerStatus("w", "generate", "ready", 4, 1), {})
    assert table.store.needs_wakeup(Stage.GENERATE, tenant="a")
