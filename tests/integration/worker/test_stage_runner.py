"""A stage's work ends in a settled, moved or released job, whatever it raises."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from jobs.errors import Cancelled, ClaimLost, JobFailed, NotInitialized, ObjectStoreUnavailable
from jobs.model.job import JobStatus, Stage
from jobs.model.result import JobResult
from jobs.objects.keys import result_key
from jobs.table.types import ClaimedJob
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
def test_unavailable_server_releases_the_job_and_pauses_claims(table: Table, error: Exception) -> None:
    table.queued("job_a")
    runner = run(table, raising(error))
    record = table.store.get("job_a")
    assert record is not None
    assert (record.status, record.claim, record.lost_leases) == (JobStatus.QUEUED, "", 0)
    assert runner.backoff.remaining_s > 0


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


def test_backoff_doubles_up_to_its_limit_until_it_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    backoff, pauses = Backoff(), []
    for _ in range(6):
        backoff.extend()
        pauses.append(backoff.remaining_s)
    assert pauses == [1, 2, 4, 8, 15, 15]
    backoff.reset()
    backoff.extend()
    assert backoff.remaining_s == 1
