"""How a worker parts with its job, on the real table."""

import threading

from jobs.blobs import result_key
from jobs.events import Event, JournalToken, tokens_data
from jobs.logs import job_logger
from jobs.record import JobStatus
from jobs.result import JobResult
from tests.fixtures.table import Table, completed
from worker.parting import Parting


def test_a_job_is_handed_back_into_its_line(table: Table) -> None:
    job = table.running("job_a")
    Parting(table.store, table.ending).hand_back(job, threading.Event(), job_logger(job), reason="drain")
    record = table.store.get("job_a")
    assert record is not None
    assert (record.status, record.claim, record.losses) == (JobStatus.QUEUED, "", 0)


def test_a_job_that_was_cancelled_meanwhile_ends_instead_with_what_it_made(table: Table) -> None:
    job = table.running("job_a")
    tokens = tokens_data([JournalToken(7, False), JournalToken(8, False)], "thinking", " so far", 2)
    table.store.append("job_a", job.claim, [Event(1, "tokens", tokens)], tokens=2)
    table.ending.cancel(job)
    Parting(table.store, table.ending).hand_back(job, threading.Event(), job_logger(job), reason="drain")
    result = JobResult.from_json(table.blobs.get(result_key("job_a")))
    assert table.status("job_a") == result.status == JobStatus.CANCELLED
    assert result.output is not None
    assert result.output["thinking"] == "so far"
    assert result.stopped_after_ms is not None


def test_an_end_is_not_tried_for_ever(table: Table) -> None:
    job, lost = table.running("job_a"), threading.Event()
    lost.set()
    assert not Parting(table.store, table.ending).end(completed(job), lost, job_logger(job))
    assert not Parting(table.store, table.ending, patience_s=0).end(completed(job), threading.Event(), job_logger(job))
    assert table.status("job_a") == JobStatus.RUNNING
    assert Parting(table.store, table.ending).end(completed(job), threading.Event(), job_logger(job))
    assert table.status("job_a") == JobStatus.COMPLETED
