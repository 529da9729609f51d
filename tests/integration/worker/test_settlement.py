"""A worker finishes its job or releases it, on a real job table."""

import threading

from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import JobStatus
from jobs.model.result import JobResult
from jobs.objects.keys import result_key
from runtime.logs import job_logger
from testing.table import Table, completed
from worker.settlement import JobSettler


def test_released_job_returns_to_its_queue_and_counts_no_lost_lease(table: Table) -> None:
    job = table.running("job_a")
    JobSettler(table.store, table.finalizer).release(job, threading.Event(), job_logger(job), reason="drain")
    record = table.store.get("job_a")
    assert record is not None
    assert (record.status, record.claim, record.lost_leases) == (JobStatus.QUEUED, "", 0)


def test_cancelled_job_ends_with_its_journal_when_it_is_released(table: Table) -> None:
    job = table.running("job_a")
    tokens = tokens_data([JournalToken(7, False), JournalToken(8, False)], "thinking", " so far", 2)
    table.store.append("job_a", job.claim, [Event(1, "tokens", tokens)], tokens=2)
    table.finalizer.cancel(job)
    JobSettler(table.store, table.finalizer).release(job, threading.Event(), job_logger(job), reason="drain")
    result = JobResult.from_json(table.object_store.get(result_key("job_a")))
    assert table.status("job_a") == result.status == JobStatus.CANCELLED
    assert result.output is not None
    assert result.output["thinking"] == "so far"
    assert result.stopped_after_ms is not None


def test_settle_stops_when_the_lease_is_lost_or_the_time_is_over(table: Table) -> None:
    job, lost = table.running("job_a"), threading.Event()
    lost.set()
    assert not JobSettler(table.store, table.finalizer).settle(completed(job), lost, job_logger(job))
    assert not JobSettler(table.store, table.finalizer, timeout_s=0).settle(
        completed(job), threading.Event(), job_logger(job)
    )
    assert table.status("job_a") == JobStatus.RUNNING
    assert JobSettler(table.store, table.finalizer).settle(completed(job), threading.Event(), job_logger(job))
    assert table.status("job_a") == JobStatus.COMPLETED
