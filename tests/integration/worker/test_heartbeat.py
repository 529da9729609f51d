"""A heartbeat registers its worker once and keeps the leases of its jobs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.scripts import connect
from testing.processes.waiting import wait_until
from testing.table import Table
from worker.heartbeat import Heartbeat, Lease


def new_heartbeat(table: Table, *, interval_s: float, is_progressing: Callable[[], bool] = lambda: True) -> Heartbeat:
    return Heartbeat(table.store, stage=Stage.GENERATE, slots=0, interval_s=interval_s, is_progressing=is_progressing)


@contextmanager
def leased(table: Table, is_progressing: Callable[[], bool] = lambda: True) -> Iterator[Lease]:
    """The lease of a running job whose worker beats 20 times a second."""
    heartbeat = new_heartbeat(table, interval_s=0.05, is_progressing=is_progressing)
    with heartbeat.lease(table.running("job_a")) as lease:
        heartbeat.start()
        yield lease
    heartbeat.stop()


def lease_end(table: Table) -> float:
    end = connect(table.settings).zscore(keys.leases(Stage.GENERATE), "job_a")
    assert isinstance(end, float)
    return end


def test_worker_has_one_id_while_it_starts_serves_and_drains(table: Table) -> None:
    def registered() -> list[tuple[str, str, int, int]]:
        return [(worker.id, worker.state, worker.slots, worker.free) for worker in table.store.workers()]

    heartbeat = new_heartbeat(table, interval_s=60)
    name = heartbeat.worker.id
    heartbeat.start()
    assert registered() == [(name, "starting", 0, 0)]
    heartbeat.set_state("ready", slots=2)
    assert registered() == [(name, "ready", 2, 2)]
    with heartbeat.lease(table.running("job_a")):
        heartbeat.set_state("draining")
        assert registered() == [(name, "draining", 2, 1)]
    heartbeat.stop()
    assert registered() == []


def test_lease_is_renewed(table: Table) -> None:
    with leased(table) as lease:
        end = lease_end(table)
        wait_until(lambda: lease_end(table) > end, "a later end of the lease")
        assert not lease.lost.is_set()


def test_lease_is_not_renewed_while_the_worker_makes_no_progress(table: Table) -> None:
    checks = 0

    def is_progressing() -> bool:
        nonlocal checks
        checks += 1
        return False

    with leased(table, is_progressing):
        end = lease_end(table)
        wait_until(lambda: checks >= 5, "five skipped heartbeats")
        assert lease_end(table) == end


def test_worker_learns_that_a_job_is_cancelled(table: Table) -> None:
    with leased(table) as lease:
        job = table.store.get("job_a")
        assert job is not None
        table.finalizer.cancel(job)
        assert lease.cancelled.wait(30)
        assert not lease.lost.is_set()


def test_worker_learns_that_its_claim_is_lost(table: Table) -> None:
    with leased(table) as lease:
        table.store.release("job_a", lease.claim)
        assert lease.lost.wait(30)
        assert not lease.cancelled.is_set()
