"""The three steps of an end: each death between two of them, and races for the one result."""

import json
import signal
import threading
import time
from datetime import timedelta

import pytest

from jobs.errors import ClaimLost, PresignedUrlExpired
from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import JobStatus, Stage, new_claim
from jobs.model.result import JobResult
from jobs.objects.keys import cancel_key, events_key, request_key, result_key
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.wakeup.app import TASKS
from testing.servers import Servers
from testing.table import Table, completed
from worker.keeper.reaper import Reaper


def failed(job_id: str, claim: str) -> JobResult:
    return JobResult(job_id, JobStatus.FAILED, 1, claim, error={"code": "x", "message": "y"})


def result_of(table: Table, job_id: str) -> JobResult:
    return JobResult.from_json(table.object_store.get(result_key(job_id)))


def test_ending_twice_gives_one_event_and_one_delivery(table: Table) -> None:
    job = table.running("job_a", events=("completed", "failed"))
    for _ in range(2):
        assert table.finalizer.finalize(completed(job), expect="owner") == JobStatus.COMPLETED
    assert [event.type for event in table.store.events("job_a")] == ["ended"]
    due = table.deliveries.claim_due(claim="k", limit=10)
    assert [(row.id, row.event) for row in due] == [("evt_job_a_completed", "job.completed")]


def test_no_delivery_for_an_event_that_was_not_asked_for(table: Table) -> None:
    job = table.running("job_a", events=("failed",))
    table.finalizer.finalize(completed(job), expect="owner")
    assert table.deliveries.claim_due(claim="k", limit=10) == []


def test_after_the_seal_neither_a_claim_nor_a_hand_back_succeeds(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    with pytest.raises(ClaimLost):
        table.store.release("job_a", job.claim)
    assert table.claim(Stage.GENERATE) is None
    with pytest.raises(ClaimLost):
        table.finalizer.finalize(failed("job_a", new_claim()), expect="unclaimed")


def test_whoever_finds_a_result_finishes_as_it_says(table: Table) -> None:
    job = table.running("job_a")
    table.object_store.put_if_absent(result_key("job_a"), completed(job, "the first").to_json())
    late = JobResult("job_a", JobStatus.FAILED, 1, job.claim, error={"code": "x", "message": "y"})
    assert table.finalizer.finalize(late, expect="owner") == JobStatus.COMPLETED
    assert table.status("job_a") == JobStatus.COMPLETED
    assert (result_of(table, "job_a").output or {})["answer"] == "the first"


def test_a_frozen_worker_that_thaws_behind_its_put_changes_nothing(table: Table) -> None:
    """It sealed, froze, lost its lease; another worker ran the job and ended it; now it goes on with its PUT."""
    frozen = table.running("job_a", events=("completed",))
    table.store.seal("job_a", sealer=frozen.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.expire_lease("job_a")
    assert table.maintenance.requeue(table.store.get("job_a")) == "ok"  # type: ignore[arg-type]
    other = table.claim(Stage.GENERATE)
    assert other is not None
    table.finalizer.finalize(completed(other.job, "from the other"), expect="owner")

    assert not table.object_store.put_if_absent(result_key("job_a"), completed(frozen, "from the frozen").to_json())
    assert table.finalizer.finalize_from_result("job_a") == JobStatus.COMPLETED
    assert (result_of(table, "job_a").output or {})["answer"] == "from the other"
    assert [event.type for event in table.store.events("job_a")] == ["ended"]
    assert len(table.deliveries.claim_due(claim="k", limit=10)) == 1


def test_a_put_that_comes_behind_its_seal_is_refused_by_the_store_itself(table: Table, servers: Servers) -> None:
    """However long a process freezes behind its seal, and wherever: here on the way, so that no check of ours helps."""
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


def test_a_cancel_has_a_receipt(table: Table) -> None:
    job = table.running("job_a", events=("cancelled",))
    table.finalizer.cancel(job)
    time.sleep(0.05)
    stopped = JobResult("job_a", JobStatus.CANCELLED, 1, job.claim, error={"code": "cancelled", "message": "y"})
    assert table.finalizer.finalize(stopped, expect="owner") == JobStatus.CANCELLED
    after = result_of(table, "job_a").stopped_after_ms
    assert after is not None
    assert 50 <= after < 5_000
    assert table.store.events("job_a")[-1].data["stopped_after_ms"] == after
    assert not table.object_store.is_empty(cancel_key("job_a"))


def test_a_cancel_while_it_waits_keeps_and_counts_what_an_earlier_run_made(table: Table) -> None:
    job = table.running("job_a")
    for seq, stage, thinking in ((1, "thinking", 2), (2, "answer", 2)):
        tokens = [JournalToken(7, False), JournalToken(8, False), JournalToken(9, True)]
        event = Event(seq, "tokens", tokens_data(tokens, stage, f" {stage}", thinking))
        table.store.append("job_a", job.claim, [event], tokens=3 * seq)
    table.store.release("job_a", job.claim)
    table.finalizer.cancel(job)
    result = result_of(table, "job_a")
    assert (result.status, result.stopped_after_ms) == (JobStatus.CANCELLED, 0)
    assert result.output == {"thinking": "thinking", "answer": "answer", "boxes": [], "raw": ""}
    assert result.usage == {"thinking_tokens": 2, "answer_tokens": 2}


def test_a_cancel_that_came_behind_a_seal_counts_when_that_end_is_lost(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.finalizer.cancel(job)
    table.expire_lease("job_a")
    keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.CANCELLED


def test_a_cancel_between_two_looks_of_the_keeper_is_not_lost(table: Table) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    table.finalizer.cancel(job)
    assert table.maintenance.requeue(job) == "skipped", "in the line nobody would claim it, and nobody end it"
    keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.CANCELLED


def test_a_worker_leaves_its_result_when_the_table_is_lost_unless_the_job_was_cancelled(table: Table) -> None:
    jobs = [table.running(f"job_{letter}") for letter in "abc"]
    for job in jobs[:2]:
        table.object_store.put_if_absent(request_key(job.id), b"{}")
    table.finalizer.cancel(jobs[1])
    connect(table.settings).flushdb()
    assert table.finalizer.finalize(completed(jobs[0]), expect="owner") == JobStatus.COMPLETED
    assert table.finalizer.finalize(completed(jobs[1]), expect="owner") == JobStatus.CANCELLED
    with pytest.raises(ClaimLost):  # it was removed: nothing of it may come back
        table.finalizer.finalize(completed(jobs[2]), expect="owner")
    assert [result_of(table, job.id).status for job in jobs[:2]] == [JobStatus.COMPLETED, JobStatus.CANCELLED]
    assert table.object_store.is_empty(result_key("job_c"))


def test_racing_enders_write_one_result(table: Table) -> None:
    """A worker that ends its job, and keepers that believe it dead, all at once, many times."""
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
        assert outcomes[0] == table.status(job.id) == result_of(table, job.id).status
        assert [event.type for event in table.store.events(job.id)] == ["ended"]
    assert len(table.deliveries.claim_due(claim="k", limit=100)) == 12


def keeper(table: Table) -> Reaper:
    return Reaper(table.store, table.maintenance, table.object_store, table.finalizer)


def test_the_keeper_gives_a_lost_job_to_the_next_worker(table: Table) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    keeper(table).run_maintenance()
    again = table.claim(Stage.GENERATE)
    assert again is not None
    assert (again.job.id, again.job.attempt, again.job.lost_leases) == ("job_a", 2, 1)
    assert again.job.claim != job.claim


def test_the_keeper_adopts_the_result_of_a_worker_that_died_before_finish(table: Table) -> None:
    job = table.running("job_a", events=("completed",))
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.object_store.put_if_absent(result_key("job_a"), completed(job).to_json())
    table.expire_lease("job_a")
    keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.COMPLETED
    assert len(table.deliveries.claim_due(claim="k", limit=10)) == 1


def test_the_keeper_runs_a_job_again_whose_worker_died_before_the_put(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.expire_lease("job_a")
    keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.QUEUED
    assert table.claim(Stage.GENERATE) is not None


def test_the_keeper_completes_a_failure_whose_writer_died(table: Table) -> None:
    job = table.running("job_a", events=("failed",))
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.FAILED, error="image_unreadable", expect="owner")
    table.expire_lease("job_a")
    keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.FAILED
    assert result_of(table, "job_a").error_code == "image_unreadable"
    assert len(table.deliveries.claim_due(claim="k", limit=10)) == 1


def test_the_keeper_ends_a_job_that_kills_its_workers(table: Table) -> None:
    table.queued("job_a", events=("failed",))
    for _ in range(4):
        assert table.claim(Stage.GENERATE) is not None
        table.expire_lease("job_a")
        keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.FAILED
    assert result_of(table, "job_a").error_code == "worker_lost"


def test_the_keeper_ends_what_nobody_started_in_time(table: Table) -> None:
    table.store.accept("job_a", tenant="default", priority="default", expires_ms=-1, events=["expired"])
    keeper(table).run_maintenance()
    assert table.status("job_a") == JobStatus.EXPIRED
    assert [row.event for row in table.deliveries.claim_due(claim="k", limit=10)] == ["job.expired"]


def test_two_keepers_do_not_get_in_each_others_way(table: Table) -> None:
    for number in range(10):
        table.running(f"job_{number}")
        table.expire_lease(f"job_{number}")
    threads = [threading.Thread(target=keeper(table).run_maintenance) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    lost_leases = []
    while claimed := table.claim(Stage.GENERATE):
        lost_leases.append(claimed.job.lost_leases)
    assert lost_leases == [1] * 10


def test_the_keeper_waits_after_redis_came_back_as_another(table: Table) -> None:
    table.running("job_a")
    housekeeper = keeper(table)
    housekeeper.run_maintenance()
    housekeeper._run_id = "the one before"  # as if Redis had restarted between two rounds
    table.expire_lease("job_a")
    housekeeper.run_maintenance()
    assert table.status("job_a") == JobStatus.RUNNING


def test_a_clock_that_was_set_back_holds_nothing_up(table: Table) -> None:
    """As if the table had been written by a clock that was an hour ahead: the rows move, no clock does."""
    table.finalizer.finalize(completed(table.running("job_ended", events=("completed",))), expect="owner")
    table.running("job_lost")
    client, hour_ms = connect(table.settings), 3_600_000
    for key, row in (
        (keys.leases(Stage.GENERATE), "job_lost"),
        (keys.UNARCHIVED, "job_ended"),
        (keys.DELIVERIES_DUE, "evt_job_ended_completed"),
    ):
        client.zincrby(key, hour_ms, row)
    now_ms = int(table.store.integrity.server_clock()[1] * 1000)
    client.set("clock", now_ms + hour_ms)
    assert table.maintenance.unarchived() == []
    assert table.deliveries.claim_due(claim="k", limit=10) == []
    keeper(table).run_maintenance()
    assert table.maintenance.unarchived() == ["job_ended"]
    assert [row.job_id for row in table.deliveries.claim_due(claim="k", limit=10)] == ["job_ended"]
    lease_ends = client.zscore(keys.leases(Stage.GENERATE), "job_lost")
    assert lease_ends is not None
    assert now_ms < lease_ends < now_ms + hour_ms / 2
    assert table.maintenance.adjust_for_clock_step(step_ms=2_000) == 0, "once"


def test_the_keeper_rings_a_missing_bell(table: Table) -> None:
    table.queued("job_a")
    keeper(table).run_maintenance()
    messages = connect(table.settings).lrange(keys.wakeups(Stage.GENERATE), 0, -1)
    assert len(messages) == 1
    assert json.loads(messages[0])["headers"]["task"] == TASKS[Stage.GENERATE]


def test_a_stream_that_cannot_be_read_keeps_no_other_out_of_the_archive(table: Table) -> None:
    for job_id in ("job_broken", "job_whole"):
        table.finalizer.finalize(completed(table.running(job_id)), expect="owner")
    connect(table.settings).xadd(keys.stream("job_broken"), {"type": "tokens", "data": "{"})
    keeper(table).run_cleanup()
    assert table.maintenance.unarchived() == ["job_broken"]
    assert not table.object_store.is_empty(events_key("job_whole"))
