"""The three steps that end a job: a process that dies between two of them, and races for the one result."""

import signal
import threading
import time
from datetime import timedelta

import pytest

from jobs.errors import ClaimLost, PresignedUrlExpired
from jobs.model.documents.result import JobResult
from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import JobStatus, Stage, new_claim
from jobs.objects.documents import load_result
from jobs.objects.keys import cancel_key, request_key, result_key
from jobs.table.scripts import connect
from testing.processes.servers import Servers
from testing.table import Table, completed


def failed(job_id: str, claim: str) -> JobResult:
    return JobResult(job_id, JobStatus.FAILED, 1, claim, error={"code": "x", "message": "y"})


def test_finalizing_twice_gives_one_event_and_one_delivery(table: Table) -> None:
    job = table.running("job_a", events=("completed", "failed"))
    for _ in range(2):
        assert table.finalizer.finalize(completed(job), expect="owner") == JobStatus.COMPLETED
    assert [event.type for event in table.store.events("job_a")] == ["ended"]
    due = table.deliveries.claim_due(claim="k", limit=10)
    assert [(row.id, row.event) for row in due] == [("evt_job_a_completed", "job.completed")]


def test_an_event_that_was_not_requested_gets_no_delivery(table: Table) -> None:
    job = table.running("job_a", events=("failed",))
    table.finalizer.finalize(completed(job), expect="owner")
    assert table.deliveries.claim_due(claim="k", limit=10) == []


def test_after_the_seal_neither_a_claim_nor_a_release_succeeds(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    with pytest.raises(ClaimLost):
        table.store.release("job_a", job.claim)
    assert table.claim(Stage.GENERATE) is None
    with pytest.raises(ClaimLost):
        table.finalizer.finalize(failed("job_a", new_claim()), expect="unclaimed")


def test_a_job_ends_as_its_stored_result_says(table: Table) -> None:
    job = table.running("job_a")
    table.object_store.put_if_absent(result_key("job_a"), completed(job, "the first").to_json())
    late = JobResult("job_a", JobStatus.FAILED, 1, job.claim, error={"code": "x", "message": "y"})
    assert table.finalizer.finalize(late, expect="owner") == JobStatus.COMPLETED
    assert table.status("job_a") == JobStatus.COMPLETED
    assert (load_result(table.object_store, "job_a").output or {})["answer"] == "the first"


def test_a_worker_that_was_frozen_before_its_put_changes_nothing(table: Table) -> None:
    """It sealed the job, froze and lost its lease; another worker ended the job; now the first sends its PUT."""
    frozen = table.running("job_a", events=("completed",))
    table.store.seal("job_a", sealer=frozen.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.expire_lease("job_a")
    assert table.maintenance.requeue(table.store.get("job_a")) == "ok"  # type: ignore[arg-type]
    other = table.claim(Stage.GENERATE)
    assert other is not None
    table.finalizer.finalize(completed(other.job, "from the other"), expect="owner")

    assert not table.object_store.put_if_absent(result_key("job_a"), completed(frozen, "from the frozen").to_json())
    assert table.finalizer.finalize_from_result("job_a") == JobStatus.COMPLETED
    assert (load_result(table.object_store, "job_a").output or {})["answer"] == "from the other"
    assert [event.type for event in table.store.events("job_a")] == ["ended"]
    assert len(table.deliveries.claim_due(claim="k", limit=10)) == 1


def test_the_store_refuses_a_put_that_arrives_after_its_seal_has_expired(table: Table, servers: Servers) -> None:
    """The request is delayed on its way, where no check in this project can help."""
    weed = servers.processes["seaweedfs"]
    weed.send_signal(signal.SIGSTOP)
    thaw = threading.Timer(2.5, weed.send_signal, (signal.SIGCONT,))
    thaw.start()
    try:
        with pytest.raises(PresignedUrlExpired):
            table.object_store.put_if_absent(result_key("job_a"), b"{}", lifetime=timedelta(seconds=1))
    finally:
        thaw.join()
    assert table.object_store.is_empty(result_key("job_a"))


def test_a_cancelled_job_says_how_long_it_took_to_stop(table: Table) -> None:
    job = table.running("job_a", events=("cancelled",))
    started = time.monotonic()
    table.finalizer.cancel(job)
    time.sleep(0.05)
    stopped = JobResult("job_a", JobStatus.CANCELLED, 1, job.claim, error={"code": "cancelled", "message": "y"})
    assert table.finalizer.finalize(stopped, expect="owner") == JobStatus.CANCELLED
    elapsed_ms = 1_000 * (time.monotonic() - started) + 1
    after = load_result(table.object_store, "job_a").stopped_after_ms
    assert after is not None
    assert 50 <= after <= elapsed_ms
    assert table.store.events("job_a")[-1].data["stopped_after_ms"] == after
    assert not table.object_store.is_empty(cancel_key("job_a"))


def test_a_cancelled_waiting_job_keeps_the_output_and_usage_of_an_earlier_run(table: Table) -> None:
    job = table.running("job_a")
    for seq, stage, thinking in ((1, "thinking", 2), (2, "answer", 2)):
        tokens = [JournalToken(7, False), JournalToken(8, False), JournalToken(9, True)]
        event = Event(seq, "tokens", tokens_data(tokens, stage, f" {stage}", thinking))
        table.store.append("job_a", job.claim, [event], tokens=3 * seq)
    table.store.release("job_a", job.claim)
    table.finalizer.cancel(job)
    result = load_result(table.object_store, "job_a")
    assert (result.status, result.stopped_after_ms) == (JobStatus.CANCELLED, 0)
    assert result.output == {"thinking": "thinking", "answer": "answer", "boxes": [], "raw": ""}
    assert result.usage == {"thinking_tokens": 2, "answer_tokens": 2}


def test_a_worker_stores_its_result_when_the_table_is_lost_unless_the_job_was_cancelled(table: Table) -> None:
    jobs = [table.running(f"job_{letter}") for letter in "abc"]
    for job in jobs[:2]:
        table.object_store.put_if_absent(request_key(job.id), b"{}")
    table.finalizer.cancel(jobs[1])
    connect(table.settings).flushdb()
    assert table.finalizer.finalize(completed(jobs[0]), expect="owner") == JobStatus.COMPLETED
    assert table.finalizer.finalize(completed(jobs[1]), expect="owner") == JobStatus.CANCELLED
    with pytest.raises(ClaimLost):  # it was deleted and must stay deleted
        table.finalizer.finalize(completed(jobs[2]), expect="owner")
    assert [load_result(table.object_store, job.id).status for job in jobs[:2]] == [
        JobStatus.COMPLETED,
        JobStatus.CANCELLED,
    ]
    assert table.object_store.is_empty(result_key("job_c"))


def test_racing_finalizers_write_one_result(table: Table) -> None:
    """A worker that ends its job, and keepers whose view is that its lease has expired, at the same time."""
    for number in range(12):
        job = table.running(f"job_{number}", events=("completed", "failed"))
        table.expire_lease(job.id)
        outcomes: list[JobStatus] = []

        def end(result: JobResult, expect: str, outcomes: list[JobStatus] = outcomes) -> None:
            try:
                outcomes.append(table.finalizer.finalize(result, expect=expect))  # type: ignore[arg-type]
            except ClaimLost:
                return

        threads = [threading.Thread(target=end, args=(completed(job), "owner"))]
        threads += [threading.Thread(target=end, args=(failed(job.id, new_claim()), "expired")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert len(set(outcomes)) == 1
        assert outcomes[0] == table.status(job.id) == load_result(table.object_store, job.id).status
        assert [event.type for event in table.store.events(job.id)] == ["ended"]
    assert len(table.deliveries.claim_due(claim="k", limit=100)) == 12
