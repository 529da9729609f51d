"""Each call to Redis and the object store is lost, answered in vain or late, while a second api process and keeper work."""

from itertools import product

import pytest

from testing.interleavings.fault_proxy import Fault, Mode
from testing.interleavings.world import BODY, world
from testing.table import Table

MODES: tuple[Mode, ...] = ("lose request", "lose reply", "delay")
ALL_SUBMIT_CALLS = ["check_admission", "accept", "PUT requests"]
KEYED_CALLS = ["GET idempotency", "PUT idempotency"]


def faults(labels: list[str]) -> list[Fault]:
    """Return each fault of each call. redis-py repeats a call once; the second one fails as well, or succeeds."""
    found = [Fault(label, mode) for label, mode in product(labels, MODES)]
    found += [Fault(label, mode, repeats=1) for label, mode in product(labels, MODES) if " " not in label]
    return found


def fresh(fault: Fault) -> Fault:
    return Fault(fault.label, fault.mode, fault.occurrence, fault.repeats)


def check_submission(table: Table, key: str | None, *injected: Fault) -> None:
    with world(table) as service:
        service.submit(*map(fresh, injected), key=key)
        service.settle()
        service.release()
        service.settle()
        service.check()
        if key is not None:
            service.note(service.second.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": key}), is_keyed=True)
            assert len(service.accepted) == 1
            service.settle()
            service.check()
        service.check_removed_jobs()
        service.lose_redis()
        service.settle()
        service.check()


FAST_SUBMISSIONS: list[tuple[str | None, tuple[Fault, ...]]] = [
    (None, (Fault("accept", "lose reply", repeats=1),)),
    (None, (Fault("accept", "delay", repeats=1),)),
    (None, (Fault("PUT requests", "delay"),)),
    ("k", (Fault("accept", "lose reply", repeats=1),)),
    ("k", (Fault("accept", "delay", repeats=1),)),
    ("k", (Fault("PUT requests", "delay"),)),
    ("k", (Fault("PUT idempotency", "delay"),)),
    ("k", (Fault("PUT idempotency", "lose reply"),)),
]


def name(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("key", "injected"), FAST_SUBMISSIONS, ids=name)
def test_a_submission_keeps_its_promise(table: Table, key: str | None, injected: tuple[Fault, ...]) -> None:
    check_submission(table, key, *injected)
