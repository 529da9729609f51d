"""A worker finishes its job or releases it, on a real job table."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.model.documents.result import JobResult
from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import JobStatus
from jobs.objects.keys import result_key
from jobs.objects.store import ObjectStore
from runtime.telemetry.logs import job_logger
from testing.processes.proxy import Fault, Proxy
from testing.processes.servers import Servers
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


HOUR_S = 3600.0
RESULT_FAULT = Fault(b"/results/", reply=b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n")
STORE_FAULT = Fault(b"HTTP/1.1", reply=b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n")


class Recorder:
    """The job's logger: keeps the codes of delays, and calls back at each."""

    def __init__(self, react: Callable[[int], None] = lambda _: None) -> None:
        self.codes: list[str] = []
        self._react = react

    def warning(self, _event: str, *, code: str, **_: Any) -> None:
        self.codes.append(code)
        self._react(len(self.codes))

    def info(self, *_: Any, **__: Any) -> None:
        """Ignore that the job has ended."""


@pytest.fixture
def proxy(servers: Servers) -> Iterator[Proxy]:
    proxy = Proxy(servers.seaweedfs.port)
    yield proxy
    proxy.close()


def settler(table: Table, proxy: Proxy, *, timeout_s: float, object_timeout_s: float) -> JobSettler:
    settings = table.settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{proxy.port}"})
    object_store = ObjectStore(settings, timeout_s=5, tries=1)
    finalizer = JobFinalizer(table.store, object_store, retention_days=1)
    return JobSettler(table.store, finalizer, timeout_s=timeout_s, object_timeout_s=object_timeout_s, retry_s=0.01)


def test_a_job_whose_result_alone_cannot_be_stored_is_given_up_early(table: Table, proxy: Proxy) -> None:
    """It would hold its slot for an hour otherwise."""
    job, log = table.running("job_a"), Recorder()
    proxy.faults = [RESULT_FAULT]
    found = settler(table, proxy, timeout_s=HOUR_S, object_timeout_s=0.3)
    assert not found.settle(completed(job), threading.Event(), log)
    assert set(log.codes) == {"object_store_unavailable"}
    assert table.status("job_a") == JobStatus.RUNNING


def test_a_finished_job_is_kept_for_the_long_limit_while_the_store_is_away(table: Table, proxy: Proxy) -> None:
    job = table.running("job_a")

    def answer_again(delays: int) -> None:
        if delays == 3:
            proxy.faults = []

    log = Recorder(answer_again)
    proxy.faults = [STORE_FAULT]
    assert settler(table, proxy, timeout_s=HOUR_S, object_timeout_s=0).settle(completed(job), threading.Event(), log)
    assert len(log.codes) == 3
    assert table.status("job_a") == JobStatus.COMPLETED


def test_the_long_limit_ends_too(table: Table, proxy: Proxy) -> None:
    job, log = table.running("job_a"), Recorder()
    proxy.faults = [STORE_FAULT]
    found = settler(table, proxy, timeout_s=0.3, object_timeout_s=HOUR_S)
    assert not found.settle(completed(job), threading.Event(), log)
    assert log.codes
    assert table.status("job_a") == JobStatus.RUNNING
