"""The sequence of faults of a chaos run, chosen by a seed."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testing.chaos.faults import FAULTS, Fault, NothingHit
from testing.chaos.fleet import Fleet
from testing.chaos.targeted_faults import TARGETED_FAULTS
from testing.chaos.workload import Kind

ALL_FAULTS = (*FAULTS, *TARGETED_FAULTS)
MISSES = 3
"""Targeted faults that may find nothing to hit, for each fault that happens."""
Admit = Callable[[int, Kind | None], None]


@dataclass(frozen=True)
class InjectedFault:
    name: str
    ended_at: float
    """On the monotonic clock."""


def fault_sequence(rng: random.Random) -> Iterator[Fault]:
    """Yield faults without end: each round has every fault as often as its weight says, shuffled."""
    round_ = [fault for fault in ALL_FAULTS for _ in range(fault.weight)]
    while True:
        yield from rng.sample(round_, len(round_))


def inject_faults(fleet: Fleet, count: int, rng: random.Random, *, admit: Admit) -> list[InjectedFault]:
    """Inject faults one after the other, with pauses in between.

    Args:
        admit: called before each fault with the number of faults left and the kind of job that the fault needs, so
            that there is work to disturb.
    """
    injected: list[InjectedFault] = []
    misses = 0
    for fault in fault_sequence(rng):
        if len(injected) == count:
            break
        pause_s = rng.uniform(0.2, 2)
        if fault.needs:
            time.sleep(pause_s)
        admit(count - len(injected), fault.needs)
        if not fault.needs:
            time.sleep(pause_s)
        try:
            fault.act(fleet, rng)
        except NothingHit:
            misses += 1
            assert misses < MISSES * count, f"{misses} targeted faults found nothing to hit"
        else:
            injected.append(InjectedFault(fault.name, time.monotonic()))
    return injected


def summary(injected: list[InjectedFault]) -> str:
    counts = Counter(fault.name for fault in injected)
    return "\n".join(f"  {count:4} × {name}" for name, count in sorted(counts.items()))
