"""Faults at one exact call: before and after each of seal, PUT and finish, in every process that ends jobs."""

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

from testing.chaos.faults import PAST_THE_LEASE_S, Act, Fault, NothingHit, sleep_past_lease
from testing.chaos.fleet import CALLS, GENERATORS, KEEPERS, Fleet
from testing.processes.proxy import When
from worker.keeper.reaper import GRACE_LEASES

TRAP_LIMIT_S = 8.0

Harm = Literal["kill", "suspend", "cut"]
"""cut: only the connection of that call."""


def _hit(fleet: Fleet, names: Sequence[str], call: str, when: When, harm: Harm, limit_s: float) -> None:
    """Harm the first of these processes that makes the call, at that call.

    Raises:
        NothingHit: none made it within ``limit_s``.
    """
    act = {"kill": fleet.kill, "suspend": fleet.suspend, "cut": lambda _: None}[harm]
    traps = [fleet.set_trap(name, call, when, partial(act, name)) for name in names]
    give_up = time.monotonic() + limit_s
    try:
        while time.monotonic() < give_up:
            for trap in traps:
                if trap.triggered.wait(0.02):
                    return
    finally:
        for name in names:
            for proxy in fleet.proxies[name]:
                proxy.remove_traps()
    raise NothingHit


def _at_job_end(names: Sequence[str], call: str, when: When, harm: Harm) -> Act:
    """Hit a worker that finalizes a job."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        try:
            _hit(fleet, names, call, when, harm, TRAP_LIMIT_S)
            if harm == "suspend":
                sleep_past_lease(fleet)
        finally:
            for name in names:
                fleet.resume(name)

    return act


def _at_cancel(call: str, when: When, harm: Harm) -> Act:
    """Hit the API that finalizes a cancelled job of which no worker has a claim."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        fleet.suspend("prepare")  # jobs stay in the queue
        try:
            _hit(fleet, ("api",), call, when, harm, TRAP_LIMIT_S)
        finally:
            fleet.resume("prepare")

    return act


def _at_recovery(when: When, harm: Harm) -> Act:
    """Hit the keeper that finishes a job whose worker died after its PUT."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        _hit(fleet, GENERATORS, "put", "after", "kill", TRAP_LIMIT_S)
        lease_s = fleet.service.table.settings.lease_s
        _hit(fleet, KEEPERS, "finish", when, harm, (1 + GRACE_LEASES) * lease_s + PAST_THE_LEASE_S)

    return act


WHENS: tuple[When, ...] = ("before", "after")
GENERATE_HARMS: tuple[tuple[Harm, int], ...] = (("kill", 2), ("suspend", 1), ("cut", 2))
OTHER_HARMS: tuple[Harm, ...] = ("kill", "cut")
TARGETED_FAULTS = [
    *(
        Fault(f"generate worker: {harm} {when} {call}", weight, _at_job_end(GENERATORS, call, when, harm), "ordinary")
        for call in CALLS
        for when in WHENS
        for harm, weight in GENERATE_HARMS
    ),
    *(
        fault
        for call in CALLS
        for when in WHENS
        for harm in OTHER_HARMS
        for fault in (
            Fault(f"prepare worker: {harm} {when} {call}", 1, _at_job_end(("prepare",), call, when, harm), "malformed"),
            Fault(f"api, at a cancel: {harm} {when} {call}", 1, _at_cancel(call, when, harm), "cancelled"),
        )
    ),
    *(
        Fault(f"keeper that finishes an orphaned job: {harm} {when} finish", 1, _at_recovery(when, harm), "ordinary")
        for when in WHENS
        for harm in OTHER_HARMS
    ),
]
