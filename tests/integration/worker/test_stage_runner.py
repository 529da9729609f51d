"""A stage's work ends in a settled, moved or released job, whatever it raises."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from jobs.errors import (
    Cancelled,
    ClaimLost,
    JobFailed,
    NotInitialized,
    ObjectStoreUnavailable,
    StoreUnavailable,
)
from jobs.model.documents.result import JobResult
from jobs.model.job import MAX_LOST_LEASES, JobStatus, Stage, new_claim
from jobs.objects.keys import result_key
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob
from runtime.settings import Settings
from testing.processes.proxy import Proxy, Trap
from testing.table import Table, completed
from worker.heartbeat import Heartbeat, Lease
from worker.stage_runner import Backoff, Drain, JobReleased, StageRunner, Work


def runner_for(table: Table, work: Work) -> StageRunner:
    heartbeat = Heartbeat(table.store, stage=Stage.GENERATE, slots=1, interval_s=60)
    return StageRunner(table.store, table.finalizer, heartbeat, work, stage=Stage.GENERATE)


def run(table: Table, outcome: Callable[[ClaimedJob], JobResult | None]) -> StageRunner:
    """Claim the job and run work with this outcome on it."""

    def work(claimed: ClaimedJob, _lease: Lease, _job_log: Any) -> JobResult | None:
        return outcome(claimed)

    runner = runner_for(table, work)
    claimed = runner.claim(free_tokens=10**6)
    assert claimed is not None
    runner.run(claimed)
    return runner


def unavailable() -> JobResult:
    raise ObjectStoreUnavailable


def at_port(settings: Settings, port: int) -> Settings:
    """Return the settings with Redis at another loopback port."""
    url = urlsplit(settings.redis_url.get_secret_value())
    location = f"{url.netloc.rpartition(':')[0]}:{port}"
    return settings.model_copy(update={"redis_url": SecretStr(url._replace(netloc=location).geturl())})


def raising(error: BaseException) -> Callable[[ClaimedJob], JobResult | None]:
    def work(_claimed: ClaimedJob) -> JobResult | None:
        raise error

    return work


def test_result_of_the_work_is_settled(table: Table) -> None:
    table.queued("job_a")
    run(table, lambda claimed: completed(claimed.job))
    assert table.status("job_a") == JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (JobFailed("media_missing", "gone"), JobStatus.FAILED, "media_missing"),
        (Cancelled(), JobStatus.CANCELLED, "cancelled"),
        (KeyError("x"), JobStatus.FAILED, "internal_error"),
    ],
)
def test_error_of_the_work_ends_the_job(table: Table, error: Exception, status: JobStatus, code: str) -> None:
    table.queued("job_a")
    run(table, raising(error))
    result = JobResult.from_json(table.object_store.get(result_key("job_a")))
    assert (table.status("job_a"), result.status, result.error_code) == (status, status, code)


@pytest.mark.parametrize("error", [ObjectStoreUnavailable(), NotInitialized()])
def test_unavailable_server_releases_the_job(table: Table, error: Exception) -> None:
    table.queued("job_a")
    runner = run(table, raising(error))
    record = table.store.get("job_a")
    assert record is not None
    assert (record.status, record.claim, record.lost_leases) == (JobStatus.QUEUED, "", 0)
    assert runner.backoff.remaining_s == 0, "one job is no sign that the server is away"


def test_claims_pause_when_several_jobs_in_a_row_find_no_server(table: Table) -> None:
    runner = runner_for(table, lambda *_: unavailable())
    for number in range(3):
        assert runner.backoff.remaining_s == 0
        table.queued(f"job_{number}")
        claimed = runner.claim(free_tokens=10**6)
        assert claimed is not None
        runner.run(claimed)
    assert runner.backoff.remaining_s > 0


def test_object_that_the_store_cannot_read_fails_its_job_and_delays_no_other(table: Table) -> None:
    """Of another tenant, on the same worker: the job is retried some times, and never the next one at once."""
    redis = connect(table.settings)

    def work(claimed: ClaimedJob, _lease: Lease, _job_log: Any) -> JobResult:
        return unavailable() if claimed.job.id == "job_bad" else completed(claimed.job)

    runner = runner_for(table, work)
    table.queued("job_bad", tenant="mallory")
    attempts = 0
    for number in range(40):
        table.queued(f"job_good{number}", tenant="bob")
        redis.zadd(keys.delayed(Stage.GENERATE), {"job_bad": 1}, xx=True)  # the delay is over
        for _ in range(2):
            claimed = runner.claim(free_tokens=10**6)
            if claimed is not None:
                attempts += claimed.job.id == "job_bad"
                runner.run(claimed)
        assert table.status(f"job_good{number}") == JobStatus.COMPLETED
        assert runner.backoff.remaining_s == 0
        if table.status("job_bad").is_terminal:
            break
    result = JobResult.from_json(table.object_store.get(result_key("job_bad")))
    assert (result.status, result.error_code) == (JobStatus.FAILED, "storage_error")
    assert 3 <= attempts <= 10


def test_no_job_is_lost_while_the_object_store_is_away(table: Table) -> None:
    redis = connect(table.settings)
    runner = runner_for(table, lambda *_: unavailable())
    for number in range(2):
        table.queued(f"job_{number}")
    for _ in range(30):
        redis.zadd(keys.delayed(Stage.GENERATE), {"job_0": 1, "job_1": 1}, xx=True)
        claimed = runner.claim(free_tokens=10**6)
        assert claimed is not None
        runner.run(claimed)
    assert [table.status(f"job_{number}") for number in range(2)] == [JobStatus.QUEUED] * 2


def test_released_job_is_not_the_next_one_and_waits_for_its_delay(table: Table) -> None:
    table.queued("job_a")
    run(table, raising(ObjectStoreUnavailable()))
    assert table.claim(Stage.GENERATE) is None
    assert not table.store.needs_wakeup(Stage.GENERATE)
    connect(table.settings).zadd(keys.delayed(Stage.GENERATE), {"job_a": 1})
    assert table.store.needs_wakeup(Stage.GENERATE)
    assert table.claim(Stage.GENERATE) is not None


def test_delayed_job_can_be_cancelled(table: Table) -> None:
    table.queued("job_a")
    run(table, raising(ObjectStoreUnavailable()))
    job = table.store.get("job_a")
    assert job is not None
    table.finalizer.cancel(job)
    assert table.status("job_a") == JobStatus.CANCELLED
    assert not connect(table.settings).exists(keys.delayed(Stage.GENERATE))


def test_claim_whose_reply_was_lost_gets_its_job_at_the_next_call(table: Table) -> None:
    proxy = Proxy(int(urlsplit(table.settings.redis_url.get_secret_value()).port or 0))
    behind = JobStore(connect(at_port(table.settings, proxy.port)), lease_s=60)
    runner = StageRunner(
        behind,
        table.finalizer,
        Heartbeat(behind, stage=Stage.GENERATE, slots=1, interval_s=60),
        lambda claimed, *_: completed(claimed.job),
        stage=Stage.GENERATE,
    )
    table.queued("job_a")
    lost = [Trap(b"24\r\n", "after", lambda: None) for _ in range(2)]  # also the client's own retry
    assert runner.claim(free_tokens=1) is None  # loads the script; the job does not fit
    for trap in lost:
        proxy.set(trap)
    with pytest.raises(StoreUnavailable):
        runner.claim(free_tokens=10**6)
    claimed = runner.claim(free_tokens=10**6)
    proxy.close()
    assert claimed is not None
    assert (claimed.job.id, claimed.job.attempt) == ("job_a", 1)


def test_claims_that_no_worker_received_cost_the_job_nothing(table: Table) -> None:
    table.queued("job_a")
    for _ in range(MAX_LOST_LEASES + 1):
        claimed = table.store.claim(Stage.GENERATE, claim=new_claim(), worker="w", free_tokens=10**6)
        assert claimed is not None
        table.expire_lease("job_a")
        assert table.maintenance.requeue(claimed.job) == "ok"
    job = table.store.get("job_a")
    assert job is not None
    assert job.lost_leases == 0


@pytest.mark.parametrize(("is_loss", "lost_leases"), [(False, 0), (True, 1)])
def test_released_job_returns_to_the_queue(table: Table, is_loss: bool, lost_leases: int) -> None:
    table.queued("job_a")
    runner = run(table, raising(JobReleased("drain", is_loss=is_loss)))
    record = table.store.get("job_a")
    assert record is not None
    assert (record.status, record.claim, record.lost_leases) == (JobStatus.QUEUED, "", lost_leases)
    assert runner.backoff.remaining_s == 0


def test_lost_claim_writes_nothing(table: Table) -> None:
    table.queued("job_a")
    run(table, raising(ClaimLost()))
    assert table.status("job_a") == JobStatus.RUNNING
    assert table.object_store.is_empty(result_key("job_a"))


def test_claim_takes_only_a_job_that_fits(table: Table) -> None:
    table.queued("job_a", required_tokens=100)
    runner = runner_for(table, lambda *_: None)
    assert runner.claim(free_tokens=99) is None
    assert runner.claim(free_tokens=100) is not None


def test_drain_is_over_after_its_shortest_grace() -> None:
    drain = Drain()
    assert (drain.has_begun, drain.is_over) == (False, False)
    drain.begin(grace_s=60)
    assert (drain.has_begun, drain.is_over) == (True, False)
    drain.begin(grace_s=0)
    drain.begin(grace_s=60)
    assert drain.is_over


def test_backoff_doubles_up_to_its_limit_until_it_is_reset() -> None:
    backoff, pauses = Backoff(lambda: 100.0), []
    for number in range(8):
        backoff.record_failure(f"job_{number}")
        pauses.append(backoff.remaining_s)
    assert pauses == [0, 0, 1, 2, 4, 8, 15, 15]
    backoff.reset()
    for number in range(3):
        backoff.record_failure(f"job_{number}")
    assert backoff.remaining_s == 1
