"""The Lua scripts of the job table on a real Valkey: transitions, fences, repeated calls."""

import threading

import pytest

from jobs.errors import ClaimLost, JournalGap, Overloaded, RecoveryNeeded
from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import MAX_LOST_LEASES, RECORD_VERSION, JobStatus, Stage, new_claim
from jobs.objects.keys import cancel_key
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.table.types import WorkerStatus
from testing.table import Table, completed


def sampled(seq: int, *ids: int) -> Event:
    return Event(seq, "tokens", tokens_data([JournalToken(i, False) for i in ids], "thinking", "x"))


def test_a_job_goes_from_preparing_to_completed(table: Table) -> None:
    table.accept("job_a")
    assert table.status("job_a") == JobStatus.PREPARING
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert table.status("job_a") == JobStatus.PREPARING
    table.store.mark_prepared("job_a", claimed.job.claim, folder="a1-x", required_tokens=10)
    assert table.status("job_a") == JobStatus.QUEUED
    running = table.claim(Stage.GENERATE)
    assert running is not None
    assert table.status("job_a") == JobStatus.RUNNING
    assert table.finalizer.finalize(completed(running.job), expect="owner") == JobStatus.COMPLETED
    assert table.status("job_a") == JobStatus.COMPLETED


def test_accepting_twice_creates_one_job(table: Table) -> None:
    assert table.store.accept("job_a", tenant="t", priority="default", expires_ms=1000, events=[]).is_new
    assert not table.store.accept("job_a", tenant="t", priority="default", expires_ms=1000, events=[]).is_new
    assert table.claim(Stage.PREPARE) is not None
    assert table.claim(Stage.PREPARE) is None


def test_a_repeated_claim_gets_the_same_job(table: Table) -> None:
    table.accept("job_a")
    table.accept("job_b")
    first = table.claim(Stage.PREPARE, "claim-1")
    assert first is not None
    assert table.claim(Stage.PREPARE, "claim-1") == first
    other = table.claim(Stage.PREPARE, "claim-2")
    assert other is not None
    assert other.job.id != first.job.id


def test_a_repeated_claim_does_not_return_a_released_job(table: Table) -> None:
    job = table.running("job_a")
    table.store.release("job_a", job.claim)
    assert table.claim(Stage.GENERATE, job.claim) is None


def test_concurrent_claims_never_share_a_job(table: Table) -> None:
    ids = {table.queued(f"job_{number:02}") for number in range(40)}
    got: list[str] = []

    def take() -> None:
        while claimed := table.claim(Stage.GENERATE):
            got.append(claimed.job.id)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(got) == 40
    assert set(got) == ids


def test_the_first_job_of_a_queue_is_never_bypassed(table: Table) -> None:
    table.queued("job_big", required_tokens=5_000)
    table.queued("job_small", required_tokens=10)
    assert table.claim(Stage.GENERATE, free_tokens=1_000) is None
    claimed = table.claim(Stage.GENERATE, free_tokens=5_000)
    assert claimed is not None
    assert claimed.job.id == "job_big"


def test_waiting_tenants_share_evenly(table: Table) -> None:
    for number in range(6):
        table.queued(f"job_a{number}", tenant="a")
    for number in range(3):
        table.queued(f"job_b{number}", tenant="b")
    order = [claimed.job.tenant for _ in range(6) if (claimed := table.claim(Stage.GENERATE))]
    assert sorted(order[:2]) == ["a", "b"]
    assert order.count("a") == order.count("b") == 3


def test_priorities_share_eight_to_four_to_one(table: Table) -> None:
    for priority in ("high", "default", "low"):
        for number in range(20):
            table.accept(f"job_{priority}{number:02}", priority=priority)
    priorities = [claimed.job.priority for _ in range(26) if (claimed := table.claim(Stage.PREPARE))]
    assert [priorities.count(priority) for priority in ("high", "default", "low")] == [16, 8, 2]


def test_an_empty_priority_saves_up_no_credit(table: Table) -> None:
    for number in range(30):
        table.accept(f"job_d{number:02}")
    for _ in range(20):
        assert table.claim(Stage.PREPARE)
    for number in range(10):
        table.accept(f"job_l{number}", priority="low")
    priorities = [claimed.job.priority for _ in range(10) if (claimed := table.claim(Stage.PREPARE))]
    assert priorities.count("low") <= 3


def test_a_job_past_its_deadline_is_not_claimed(table: Table) -> None:
    table.store.accept("job_1_old", tenant="default", priority="default", expires_ms=-1, events=[])
    table.accept("job_2_new")
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert claimed.job.id == "job_2_new"
    assert [job.id for job in table.maintenance.missed_deadlines()] == ["job_1_old"]
    assert connect(table.settings).zscore(keys.DEADLINES, "job_1_old") == 0, (
        "it has expired, even if the clock is set back later"
    )


def test_starting_a_job_in_time_ends_its_deadline(table: Table) -> None:
    table.running("job_a")
    assert connect(table.settings).zscore(keys.DEADLINES, "job_a") is None


@pytest.mark.parametrize("version", [str(RECORD_VERSION + 1), "17"])
def test_a_newer_record_version_is_not_claimed(table: Table, version: str) -> None:
    table.accept("job_a")
    connect(table.settings).hset(keys.job("job_a"), "version", version)
    assert table.claim(Stage.PREPARE) is None


def test_a_newer_record_does_not_block_the_jobs_behind_it(table: Table) -> None:
    client = connect(table.settings)
    for number in range(150):
        client.hset(keys.job(table.accept(f"job_0_{number:03}")), "version", str(RECORD_VERSION + 1))
    table.accept("job_1")
    claims = [table.claim(Stage.PREPARE) for _ in range(3)]
    assert [claimed.job.id for claimed in claims if claimed] == ["job_1"]
    assert client.zcard(keys.queue(Stage.PREPARE, "default")) == 150, "they wait for a newer worker"


@pytest.mark.parametrize("field", ["deadline_ms", "tenant", "sequence"])
def test_a_damaged_record_does_not_block_its_queue(table: Table, field: str) -> None:
    connect(table.settings).hdel(keys.job(table.accept("job_0")), field)
    table.accept("job_1")
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert claimed.job.id == "job_1"


def test_a_released_job_keeps_its_position_and_loses_no_lease(table: Table) -> None:
    job = table.running("job_a")
    table.queued("job_b")
    table.store.release("job_a", job.claim)
    assert table.status("job_a") == JobStatus.QUEUED
    again = table.claim(Stage.GENERATE)
    assert again is not None
    assert again.job.id == "job_a"
    assert (again.job.attempt, again.job.lost_leases) == (2, 0)


def test_every_write_of_a_stale_claim_is_refused(table: Table) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    assert table.maintenance.requeue(job) == "ok"
    new_owner = table.claim(Stage.GENERATE)
    assert new_owner is not None

    assert table.store.append("job_a", job.claim, [sampled(1, 5)], tokens=1) == "lost"
    with pytest.raises(ClaimLost):
        table.store.release("job_a", job.claim)
    with pytest.raises(ClaimLost):
        table.store.mark_prepared("job_a", job.claim, folder="a9-z", required_tokens=1)
    with pytest.raises(ClaimLost):
        table.finalizer.finalize(completed(job), expect="owner")
    assert table.store.events("job_a") == []
    assert table.object_store.is_empty("results/job_a.json")
    beat = table.store.heartbeat(WorkerStatus("w", "generate", "ready", 1, 0), {"job_a": job.claim})
    assert beat == {"job_a": "lost"}


def test_a_heartbeat_renews_an_expired_lease_that_was_not_taken(table: Table) -> None:
    job = table.running("job_a")
    table.expire_lease("job_a")
    assert [late.id for late in table.maintenance.expired_leases(Stage.GENERATE)] == ["job_a"]
    assert table.store.heartbeat(WorkerStatus("w", "generate", "ready", 1, 0), {"job_a": job.claim}) == {"job_a": "ok"}
    assert table.maintenance.expired_leases(Stage.GENERATE) == []
    assert table.maintenance.requeue(job) == "skipped"


def test_repeated_events_are_appended_once(table: Table) -> None:
    job = table.running("job_a")
    events = [sampled(1, 5), sampled(2, 6, 7)]
    for _ in range(2):
        assert table.store.append("job_a", job.claim, events, tokens=3) == "ok"
    table.store.append("job_a", job.claim, [sampled(2, 9), sampled(3, 8)], tokens=4)
    assert table.store.events("job_a") == [*events, sampled(3, 8)]


def test_a_gap_in_a_journal_is_refused_with_the_last_sequence_number(table: Table) -> None:
    """Redis was restored without its last second: a job that continued from there would stream different tokens."""
    job = table.running("job_a")
    events = [sampled(1, 5), sampled(2, 6), sampled(3, 7)]
    table.store.append("job_a", job.claim, events[:2], tokens=2)
    connect(table.settings).delete(keys.stream("job_a"))
    table.store.append("job_a", job.claim, events[:1], tokens=1)
    with pytest.raises(JournalGap) as gap:
        table.store.append("job_a", job.claim, events[2:], tokens=3)
    assert gap.value.last_seq == 1
    assert table.store.append("job_a", job.claim, events[1:], tokens=3) == "ok"
    assert table.store.events("job_a") == events


def test_a_worker_claims_one_suspected_poison_job_at_a_time(table: Table) -> None:
    redis = connect(table.settings)
    for name in ("job_s1", "job_s2", "job_x"):
        table.queued(name)
    for name in ("job_s1", "job_s2"):
        redis.hset(keys.job(name), "lost_leases", 2)

    def claimed(worker: str) -> str | None:
        found = table.claim(Stage.GENERATE, worker=worker)
        return found.job.id if found else None

    assert [claimed("w1"), claimed("w1"), claimed("w1")] == ["job_s1", "job_x", None]
    assert claimed("w2") == "job_s2"
    owner = table.store.get("job_s2")
    assert owner is not None
    table.store.release("job_s2", owner.claim)
    assert claimed("w1") is None
    first = table.store.get("job_s1")
    assert first is not None
    table.finalizer.finalize(completed(first), expect="owner")
    assert claimed("w1") == "job_s2"


def test_a_crash_counts_against_the_suspected_poison_job_alone(table: Table) -> None:
    redis = connect(table.settings)
    for name in ("job_s", "job_x"):
        table.queued(name)
    redis.hset(keys.job("job_s"), "lost_leases", 2)
    for _ in range(2):
        assert table.claim(Stage.GENERATE, worker="w1")
    for name in ("job_s", "job_x"):
        table.expire_lease(name)
        job = table.store.get(name)
        assert job is not None
        assert table.maintenance.requeue(job) == "ok"
    assert [redis.hget(keys.job(name), "lost_leases") for name in ("job_s", "job_x")] == ["3", "0"]


def test_append_reports_a_cancel_request(table: Table) -> None:
    job = table.running("job_a")
    connect(table.settings).hset(keys.job("job_a"), "cancel_requested", "1")
    assert table.store.append("job_a", job.claim, [], tokens=0) == "cancel"


def test_a_job_without_a_record_is_unknown_not_lost(table: Table) -> None:
    job = table.running("job_a")
    connect(table.settings).delete(keys.job("job_a"))
    assert table.store.append("job_a", job.claim, [], tokens=0) == "unknown"
    assert table.store.heartbeat(WorkerStatus("w", "generate", "ready", 1, 0), {"job_a": job.claim}) == {
        "job_a": "unknown"
    }


def test_the_last_lost_lease_is_left_for_the_keeper_to_end(table: Table) -> None:
    job = table.running("job_a")
    for loss in range(MAX_LOST_LEASES - 1):
        table.expire_lease("job_a")
        assert table.maintenance.requeue(job) == "ok"
        claimed = table.claim(Stage.GENERATE)
        assert claimed is not None
        job = claimed.job
        assert job.lost_leases == loss + 1
    table.expire_lease("job_a")
    assert table.maintenance.requeue(job) == "exhausted"
    assert table.status("job_a") == JobStatus.RUNNING


def test_a_wakeup_is_needed_for_waiting_jobs_but_not_one_for_each(table: Table) -> None:
    assert not table.store.needs_wakeup(Stage.PREPARE)
    table.accept("job_a")
    table.accept("job_b")
    assert table.store.needs_wakeup(Stage.PREPARE)
    redis = connect(table.settings)
    redis.lpush(keys.wakeups(Stage.PREPARE), "a wake-up")
    assert not table.store.needs_wakeup(Stage.PREPARE)
    table.store.heartbeat(WorkerStatus("w1", "prepare", "ready", 8, 8), {})
    assert table.store.needs_wakeup(Stage.PREPARE)
    redis.lpush(keys.wakeups(Stage.PREPARE), "another wake-up")
    assert not table.store.needs_wakeup(Stage.PREPARE), "two jobs wait: a third wake-up would find nothing"


def test_a_stopped_worker_leaves_the_list_immediately(table: Table) -> None:
    table.store.heartbeat(WorkerStatus("w", "generate", "ready", 4, 4), {})
    assert [worker.id for worker in table.store.workers()] == ["w"]
    table.store.heartbeat(WorkerStatus("w", "generate", "gone", 4, 4), {})
    assert table.store.workers() == []


def test_intake_is_refused_when_too_many_jobs_wait(table: Table) -> None:
    table.accept("job_a")
    table.store.admission.check("job_new", max_waiting=2, tenant="default")
    table.accept("job_b")
    with pytest.raises(Overloaded, match="2 jobs wait"):
        table.store.admission.check("job_new", max_waiting=2, tenant="default")


def test_above_80_percent_memory_intake_is_refused_and_jobs_can_end(table: Table) -> None:
    redis = connect(table.settings)
    job = table.running("job_a", events=("completed",))
    limit = int(redis.config_get("maxmemory")["maxmemory"] or 0)
    try:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        with pytest.raises(Overloaded, match="bytes"):
            table.store.admission.check("job_new", max_waiting=1000, tenant="default")
        with pytest.raises(Overloaded):
            table.accept("job_b")
        assert table.store.append("job_a", job.claim, [sampled(1, 5)], tokens=1) == "ok"
        assert table.finalizer.finalize(completed(job), expect="owner") == JobStatus.COMPLETED
    finally:
        redis.config_set("maxmemory", limit)


def test_without_an_epoch_nothing_is_written(table: Table) -> None:
    connect(table.settings).flushall()
    with pytest.raises(RecoveryNeeded):
        table.accept("job_a")
    with pytest.raises(RecoveryNeeded):
        table.store.claim(Stage.GENERATE, claim=new_claim(), worker="w")
    assert connect(table.settings).keys("*") == []


def test_the_lease_of_the_settings_is_the_lease_of_a_claim_a_heartbeat_and_a_seal(table: Table) -> None:
    redis = connect(table.settings)
    store = JobStore(redis, lease_s=1_000)
    table.accept("job_a")
    claimed = store.claim(Stage.PREPARE, claim=new_claim(), worker="w")
    assert claimed is not None

    def remaining_s() -> float:
        ends = redis.zscore(keys.leases(Stage.PREPARE), "job_a")
        assert isinstance(ends, float)
        return ends / 1000 - store.integrity.server_clock()[1]

    for renew in (
        lambda: None,
        lambda: store.heartbeat(WorkerStatus("w", "prepare", "ready", 1, 0), {"job_a": claimed.job.claim}),
        lambda: store.seal("job_a", sealer=claimed.job.claim, status=JobStatus.FAILED, error="", expect="owner"),
    ):
        renew()
        assert 900 < remaining_s() <= 1_000
        redis.zincrby(keys.leases(Stage.PREPARE), -500_000, "job_a")


def test_a_cancel_during_an_end_is_recorded_in_both_stores(table: Table) -> None:
    job = table.running("job_a")
    table.store.seal("job_a", sealer=job.claim, status=JobStatus.COMPLETED, error="", expect="owner")
    assert table.store.cancel("job_a") == "ending"
    table.finalizer.cancel(job)
    assert not table.object_store.is_empty(cancel_key("job_a"))


def test_a_worker_leaves_the_jobs_of_a_tenant_that_has_its_share(table: Table) -> None:
    for job_id, tenant in (("job_a1", "a"), ("job_a2", "a"), ("job_b1", "b")):
        table.store.accept(job_id, tenant=tenant, priority="default", expires_ms=60_000, events=[])

    def claim(*excluded: str) -> str | None:
        claimed = table.store.claim(
            Stage.PREPARE, claim=new_claim(), worker="w", served_tenants=excluded, has_free_slot=True
        )
        return claimed.job.id if claimed else None

    assert claim("a") == "job_b1"
    assert claim("a", "b") is None
    assert claim("b") == "job_a1", "it kept its place"
    assert claim() == "job_a2"
