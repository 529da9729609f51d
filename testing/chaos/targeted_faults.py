"""Faults that are aimed at one call: at each line between seal, PUT and finish, of whoever ends jobs."""

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

from testing.chaos.faults import PAST_THE_LEASE_S, Act, Fault, Missed, sleep_past_lease
from testing.chaos.fleet import CALLS, GENERATORS, KEEPERS, Fleet
from testing.proxy import When
from worker.keeper.reaper import GRACE_LEASES

TRAP_LIMIT_S = 8.0

Harm = Literal["kill", "freeze", "cut"]


def _hit(fleet: Fleet, names: Sequence[str], call: str, when: When, harm: Harm, limit_s: float) -> None:
    """Harm the first of them that makes the call, exactly there.

    Raises:
        Missed: none has made it in time.
    """
    act = {"kill": fleet.kill, "freeze": fleet.suspend, "cut": lambda _: None}[harm]
    traps = [fleet.aim(name, call, when, partial(act, name)) for name in names]
    give_up = time.monotonic() + limit_s
    try:
        while time.monotonic() < give_up:
            for trap in traps:
                if trap.sprung.wait(0.02):
                    return
    finally:
        for name in names:
            for proxy in fleet.proxies[name]:
                proxy.disarm()
    raise Missed


def _aimed(names: Sequence[str], call: str, when: When, harm: Harm) -> Act:
    """At a worker's end of a job."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        try:
            _hit(fleet, names, call, when, harm, TRAP_LIMIT_S)
            if harm == "freeze":
                sleep_past_lease(fleet)
        finally:
            for name in names:
                fleet.resume(name)

    return act


def _cancelling(call: str, when: When, harm: Harm) -> Act:
    """At the api that ends a job which nobody has."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        fleet.suspend("prepare")  # so that jobs wait
        try:
            _hit(fleet, ("api",), call, when, harm, TRAP_LIMIT_S)
        finally:
            fleet.resume("prepare")

    return act


def _adopting(when: When, harm: Harm) -> Act:
    """At the keeper that finishes for a worker which died behind its PUT."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        _hit(fleet, GENERATORS, "put", "behind", "kill", TRAP_LIMIT_S)
        lease_s = fleet.service.table.settings.lease_s
        _hit(fleet, KEEPERS, "finish", when, harm, (1 + GRACE_LEASES) * lease_s + PAST_THE_LEASE_S)

    return act


WHENS: tuple[When, ...] = ("before", "behind")
GPU_HARMS: tuple[tuple[Harm, int], ...] = (("kill", 2), ("freeze", 1), ("cut", 2))
OTHER_HARMS: tuple[Harm, ...] = ("kill", "cut")
AIMED = [
    *(
        Fault(f"generate worker: {harm} {when} {call}", weight, _aimed(GENERATORS, call, when, harm), "ordinary")
        for call in CALLS
        for when in WHENS
        for harm, weight in GPU_HARMS
    ),
    *(
        fault
        for call in CALLS
        for when in WHENS
        for harm in OTHER_HARMS
        for fault in (
            Fault(f"prepare worker: {harm} {when} {call}", 1, _aimed(("prepare",), call, when, harm), "broken"),
            Fault(f"api, at a cancel: {harm} {when} {call}", 1, _cancelling(call, when, harm), "unwanted"),
        )
    ),
    *(
        Fault(f"keeper that adopts: {harm} {when} finish", 1, _adopting(when, harm), "ordinary")
        for when in WHENS
        for harm in OTHER_HARMS
    ),
]
