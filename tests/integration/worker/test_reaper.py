"""The keeper's maintenance of jobs: expired leases, deadlines, missing wake-ups, clocks and the archive."""

import json
import threading

from jobs.model.job import JobStatus, Stage
from jobs.objects.documents import load_result
from jobs.objects.keys import events_key, result_key
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.wakeup.app import TASKS
from testing.table import Table, completed
from worker.keeper.reaper import Reaper


def reaper_of(table: Table) -> Reaper:
    return Reaper(table.store, table.maintenance, table.object_store, table.finalizer)


def test_a_cancel_after_a_seal_applies_if_the_sealing_worker_dies(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.finalizer.cancel(job)
    table.expire_lease("job_a")
    reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.CANCELLED


def test_a_cancel_after_the_lease_has_expired_is_not_lost(table: Table) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    table.finalizer.cancel(job)
    assert table.maintenance.requeue(job) == "skipped", "a cancelled job must not return to the queue"
    reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.CANCELLED


def test_a_damaged_record_does_not_stop_the_work_on_other_jobs(table: Table) -> None:
    client = connect(table.settings)
    client.hdel(keys.job(table.accept("job_0")), "tenant", "priority")
    client.hdel(keys.job(table.accept("job_1")), "deadline_ms")
    table.running("job_2")
    table.expire_lease("job_2")
    client.zadd(keys.DEADLINES, {"job_0": 1, "job_1": 1})
    reaper_of(table).run_maintenance()
    assert table.status("job_2") == JobStatus.QUEUED
    assert table.status("job_1") == JobStatus.FAILED
    assert load_result(table.object_store, "job_1").error_code == "internal_error"
    assert table.maintenance.missed_deadlines() == [], "the damaged one is looked at again later"


def test_an_expired_lease_returns_the_job_to_the_queue(table: Table) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    reaper_of(table).run_maintenance()
    again = table.claim(Stage.GENERATE)
    assert again is not None
    assert (again.job.id, again.job.attempt, again.job.lost_leases) == ("job_a", 2, 1)
    assert again.job.claim != job.claim


def test_a_job_whose_worker_died_after_the_put_ends_as_its_result_says(table: Table) -> None:
    job = table.running("job_a", events=("completed",))
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.object_store.put_if_absent(result_key("job_a"), completed(job).to_json())
    table.expire_lease("job_a")
    reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.COMPLETED
    assert len(table.deliveries.claim_due(claim="k", limit=10)) == 1


def test_a_job_whose_worker_died_between_seal_and_put_runs_again(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    table.expire_lease("job_a")
    reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.QUEUED
    assert table.claim(Stage.GENERATE) is not None


def test_a_failure_whose_worker_died_after_the_seal_is_completed(table: Table) -> None:
    job = table.running("job_a", events=("failed",))
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.FAILED, error="image_unreadable", expect="owner")
    table.expire_lease("job_a")
    reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.FAILED
    assert load_result(table.object_store, "job_a").error_code == "image_unreadable"
    assert len(table.deliveries.claim_due(claim="k", limit=10)) == 1


def test_a_job_with_four_lost_leases_fails(table: Table) -> None:
    table.queued("job_a", events=("failed",))
    for _ in range(4):
        assert table.claim(Stage.GENERATE) is not None
        table.expire_lease("job_a")
        reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.FAILED
    assert load_result(table.object_store, "job_a").error_code == "worker_lost"


def test_a_job_that_no_worker_started_before_its_deadline_expires(table: Table) -> None:
    table.store.accept("job_a", tenant="default", priority="default", expires_ms=-1, events=["expired"])
    reaper_of(table).run_maintenance()
    assert table.status("job_a") == JobStatus.EXPIRED
    assert [row.event for row in table.deliveries.claim_due(claim="k", limit=10)] == ["job.expired"]


def test_two_keepers_requeue_each_job_once(table: Table) -> None:
    for number in range(10):
        table.running(f"job_{number}")
        table.expire_lease(f"job_{number}")
    threads = [threading.Thread(target=reaper_of(table).run_maintenance) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    lost_leases = []
    while claimed := table.claim(Stage.GENERATE):
        lost_leases.append(claimed.job.lost_leases)
    assert lost_leases == [1] * 10


def test_the_keeper_leaves_leases_alone_after_redis_restarted(table: Table) -> None:
    table.running("job_a")
    reaper = reaper_of(table)
    reaper.run_maintenance()
    reaper._run_id = "an earlier run"  # as if Redis had restarted between two maintenance runs
    table.expire_lease("job_a")
    reaper.run_maintenance()
    assert table.status("job_a") == JobStatus.RUNNING


def test_times_are_corrected_after_the_clock_is_set_back(table: Table) -> None:
    """The rows are moved as if a clock that was an hour ahead had written them; no clock moves."""
    table.finalizer.finalize(completed(table.running("job_ended", events=("completed",))), expect="owner")
    table.running("job_lost")
    client, hour_ms = connect(table.settings), 3_600_000
    for key, row in (
        (keys.leases(Stage.GENERATE), "job_lost"),
        (keys.UNARCHIVED, "job_ended"),
        (keys.tenant_deliveries_due("default"), "evt_job_ended_completed"),
    ):
        client.zincrby(key, hour_ms, row)
    client.zincrby(keys.DELIVERIES_DUE, hour_ms, "default")
    now_ms = int(table.store.integrity.server_clock()[1] * 1000)
    client.set(keys.CLOCK, now_ms + hour_ms)
    assert table.maintenance.unarchived() == []
    assert table.deliveries.claim_due(claim="k", limit=10) == []
    reaper_of(table).run_maintenance()
    assert table.maintenance.unarchived() == ["job_ended"]
    assert [row.job_id for row in table.deliveries.claim_due(claim="k", limit=10)] == ["job_ended"]
    lease_ends = client.zscore(keys.leases(Stage.GENERATE), "job_lost")
    assert lease_ends is not None
    assert now_ms < lease_ends < now_ms + hour_ms / 2
    assert table.maintenance.adjust_for_clock_step(step_ms=2_000) == 0, "corrected once"


def test_the_keeper_sends_a_missing_wake_up(table: Table) -> None:
    table.queued("job_a")
    reaper_of(table).run_maintenance()
    messages = connect(table.settings).lrange(keys.wakeups(Stage.GENERATE), 0, -1)
    assert len(messages) == 1
    assert json.loads(messages[0])["headers"]["task"] == TASKS[Stage.GENERATE]


def test_a_corrupt_stream_does_not_keep_others_out_of_the_archive(table: Table) -> None:
    for job_id in ("job_broken", "job_whole"):
        table.finalizer.finalize(completed(table.running(job_id)), expect="owner")
    connect(table.settings).xadd(keys.stream("job_broken"), {"type": "tokens", "data": "{"})
    reaper_of(table).run_cleanup()
    assert table.maintenance.unarchived() == [], "the damaged one is not tried forever"
    assert table.object_store.is_empty(events_key("job_broken"))
    assert not table.object_store.is_empty(events_key("job_whole"))


def test_many_jobs_whose_work_fails_do_not_keep_others_out(table: Table) -> None:
    """As many as one run looks at: they are tried again later, behind the others."""
    redis = connect(table.settings)
    broken = [f"job_broken{number:02}" for number in range(20)]
    redis.zadd(keys.UNARCHIVED, {job_id: number + 1 for number, job_id in enumerate(broken)})
    table.finalizer.finalize(completed(table.running("job_whole")), expect="owner")
    assert table.maintenance.unarchived() == broken
    for job_id in broken:
        table.maintenance.postpone(keys.UNARCHIVED, job_id)
    assert table.maintenance.unarchived() == ["job_whole"]
    table.maintenance.postpone(keys.leases(Stage.GENERATE), "job_gone")
    assert not redis.exists(keys.leases(Stage.GENERATE))


def test_two_keepers_do_each_thing_once(table: Table) -> None:
    redis = connect(table.settings)
    lost = [table.running(f"job_lost{number}").id for number in range(6)]
    late = [table.accept(f"job_late{number}", events=("expired",)) for number in range(6)]
    for job_id in lost:
        table.expire_lease(job_id)
    for job_id in late:
        redis.zadd(keys.DEADLINES, {job_id: 1})
    reapers = [reaper_of(table), reaper_of(table)]
    for _ in range(2):
        threads = [threading.Thread(target=reaper.run_maintenance) for reaper in reapers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    jobs = [job for job in table.store.get_many(lost) if job]
    assert [(job.status, job.lost_leases) for job in jobs] == [(JobStatus.QUEUED, 1)] * 6
    assert {table.status(job_id) for job_id in late} == {JobStatus.EXPIRED}
    assert redis.hget(keys.TOTALS, "expired:expired") == "6"
    assert [len(table.deliveries.list_for_job(job_id)) for job_id in late] == [1] * 6
    assert redis.hget(keys.tenant("default"), "open_jobs") == "6"
