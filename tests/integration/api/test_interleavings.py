"""Each call to Redis and the object store fails or is late, while a second api process and another keeper work."""

import time
from collections.abc import Callable, Sequence

import pytest

from api.intake.creation import REQUEST_PUT_LIFETIME
from jobs.objects.keys import REQUESTS
from jobs.table.scripts import connect
from testing.interleavings.fault_proxy import Fault, Mode
from testing.interleavings.world import BODY, World, world
from testing.table import Table, empty_bucket, new_table

MODES: tuple[Mode, ...] = ("lose request", "lose reply", "delay")
KEY = "order-17"

Schedule = Callable[[World, Sequence[Fault]], None]
"""Runs one step of a job's life behind the proxies, then the same or the next steps without faults, and checks."""


def submit(key: str | None) -> Schedule:
    def schedule(service: World, faults: Sequence[Fault]) -> None:
        service.submit(*faults, key=key)
        service.settle()
        service.release()
        service.settle()
        service.check()
        if key is not None:
            service.note(service.second.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": key}), is_keyed=True)
            assert len(service.accepted) == 1
            service.settle()
            service.check()

    return schedule


def run(*, then_delete: bool) -> Schedule:
    def schedule(service: World, faults: Sequence[Fault]) -> None:
        service.submit(key=None)
        service.fail(*faults)
        service.run_worker(service.proxied)
        service.settle()
        service.check()
        if then_delete:
            service.delete(service.second)
        service.release()
        service.settle()
        service.check()

    return schedule


def clean_up(*, then_delete: bool) -> Schedule:
    def schedule(service: World, faults: Sequence[Fault]) -> None:
        service.submit(key=None)
        service.run_worker()
        service.fail(*faults)
        service.run_keeper(service.proxied)
        service.run_keeper()
        if then_delete:
            service.delete(service.second)
        service.release()
        service.settle()
        service.check()

    return schedule


def delete(service: World, faults: Sequence[Fault]) -> None:
    service.submit(key=KEY)
    service.settle()
    service.fail(*faults)
    service.delete(service.first)
    service.delete(service.second)
    service.release()
    service.settle()
    service.check()


def recover(service: World, faults: Sequence[Fault]) -> None:
    service.submit(key=None)
    service.settle()
    service.submit(key=KEY)
    service.wipe_redis()
    service.fail(*faults)
    service.run_recovery(service.proxied)
    reply = service.second.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": KEY})
    assert reply.status_code in (202, 503), "a repeat finds its job, or has to wait"
    service.note(reply, is_keyed=True)
    service.run_recovery()
    service.run_worker()
    service.release()
    service.settle()
    service.check()
    service.delete(service.second)
    service.check()


SCHEDULES: dict[str, Schedule] = {
    "submit": submit(None),
    "submit with a key": submit(KEY),
    "run": run(then_delete=False),
    "run, then delete": run(then_delete=True),
    "clean up": clean_up(then_delete=False),
    "clean up, then delete": clean_up(then_delete=True),
    "delete": delete,
    "recover": recover,
}


def check(table: Table, schedule: Schedule, *faults: Fault) -> list[str]:
    """Run a schedule; then lose Redis and check again. Return the labels of the calls behind the proxies."""
    with world(table) as service:
        schedule(service, faults)
        labels = service.labels
        service.check_removed_jobs()
        service.lose_redis()
        service.settle()
        service.check()
    return labels


@pytest.mark.parametrize(
    ("name", "label", "mode", "repeats"),
    [
        ("submit", "accept", "lose reply", 1),
        ("submit", "accept", "delay", 1),
        ("submit", "PUT requests", "delay", 0),
        ("submit with a key", "accept", "lose reply", 1),
        ("submit with a key", "accept", "delay", 1),
        ("submit with a key", "PUT idempotency", "delay", 0),
        ("run, then delete", "PUT results", "delay", 1),
        ("clean up, then delete", "PUT events", "lose reply", 0),
        ("delete", "delete", "lose reply", 1),
        ("recover", "restore", "lose reply", 1),
    ],
)
def test_a_call_that_fails_breaks_no_promise(table: Table, name: str, label: str, mode: Mode, repeats: int) -> None:
    fault = Fault(label, mode, repeats=repeats)
    check(table, SCHEDULES[name], fault)
    assert fault.happened.is_set(), "no call has this label"


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", SCHEDULES)
def test_no_call_that_fails_breaks_a_promise(table: Table, name: str) -> None:
    """Fail each call once, then also its repetition. Two calls that fail in one step are the calls to two servers."""
    failures: list[str] = []
    labels = check(table, SCHEDULES[name])
    for label in labels:
        for mode in MODES:
            for repeats in (0, 1):
                fault = Fault(label, mode, repeats=repeats)
                empty_bucket(table.settings)
                new_table_of(table)
                try:
                    check(table, SCHEDULES[name], fault)
                except AssertionError as error:
                    failures.append(f"{fault}: {error}")
    assert not failures, "\n".join(failures)


@pytest.mark.slow
def test_the_store_refuses_a_request_that_arrives_after_its_client_has_an_error(table: Table) -> None:
    """Also if Redis loses the withdrawal before a keeper has seen it."""
    with world(table) as service:
        service.submit(Fault("PUT requests", "delay"), key=None)
        time.sleep(REQUEST_PUT_LIFETIME.total_seconds())
        service.release()
        assert table.object_store.list_keys(REQUESTS) == []
        service.lose_redis()
        service.settle()
        service.check()


def test_a_job_is_accepted_although_redis_stops_answering_while_the_client_waits(table: Table) -> None:
    with world(table) as service:
        service.fail(Fault("HGETALL", "lose request", repeats=100))
        reply = service.first.post("/v1/jobs", json=BODY, headers={"Prefer": "wait=1"})
        service.note(reply, is_keyed=False)
        assert reply.status_code == 202
        service.settle()
        service.check()


TWICE = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("submit", Fault("accept", "lose reply", repeats=TWICE), Fault("PUT results", "delay")),
        ("submit", Fault("accept", "delay", repeats=TWICE), Fault("PUT results", "lose request")),
        ("submit", Fault("accept", "delay", repeats=TWICE), Fault("withdraw", "delay", repeats=TWICE)),
        ("submit", Fault("PUT requests", "delay"), Fault("withdraw", "lose reply", repeats=TWICE)),
        ("submit", Fault("PUT requests", "delay"), Fault("withdraw", "delay", repeats=TWICE)),
        ("submit", Fault("PUT requests", "lose reply"), Fault("PUT results", "lose reply")),
        ("submit with a key", Fault("accept", "lose reply", repeats=TWICE), Fault("PUT decisions", "lose reply")),
        ("submit with a key", Fault("accept", "delay", repeats=TWICE), Fault("PUT decisions", "delay")),
        ("submit with a key", Fault("accept", "lose reply", repeats=TWICE), Fault("PUT results", "delay")),
        (
            "submit with a key",
            Fault("accept", "delay", repeats=TWICE),
            Fault("withdraw", "lose request", repeats=TWICE),
        ),
        ("submit with a key", Fault("PUT idempotency", "delay"), Fault("PUT decisions", "delay")),
        ("submit with a key", Fault("PUT idempotency", "lose reply"), Fault("PUT results", "lose request")),
    ],
    ids=str,
)
def test_a_withdrawal_that_fails_as_well_breaks_no_promise(
    table: Table, name: str, first: Fault, second: Fault
) -> None:
    check(table, SCHEDULES[name], first, second)
    assert first.happened.is_set()


def new_table_of(table: Table) -> Table:
    """Empty Redis and initialize it again."""
    connect(table.settings).flushdb()
    return new_table(table.settings)
