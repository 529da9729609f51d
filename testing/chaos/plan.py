"""Which faults happen, and in which order: by a seed."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testing.chaos.faults import FAULTS, Fault, Missed
from testing.chaos.fleet import Fleet
from testing.chaos.targeted_faults import AIMED
from testing.chaos.workload import Kind

MENU = (*FAULTS, *AIMED)
MISSES = 3
"""For each fault that happens, at most so many aimed ones that find nothing to hit."""
LetIn = Callable[[int, Kind | None], None]


@dataclass(frozen=True)
class Happened:
    name: str
    over_at: float
    """On the monotonic clock."""


def deck(rng: random.Random) -> Iterator[Fault]:
    """Each kind about as often as its weight says: whole rounds through the menu, shuffled, for ever."""
    cards = [fault for fault in MENU for _ in range(fault.weight)]
    while True:
        yield from rng.sample(cards, len(cards))


def cause(fleet: Fleet, count: int, rng: random.Random, *, let_in: LetIn) -> list[Happened]:
    """So many, one after the other, with some peace in between.

    Args:
        let_in: called before each, with how many are still to come, to make something that can be disturbed.
    """
    happened: list[Happened] = []
    misses = 0
    for fault in deck(rng):
        if len(happened) == count:
            break
        peace_s = rng.uniform(0.2, 2)
        if fault.wants:
            time.sleep(peace_s)
        let_in(count - len(happened), fault.wants)
        if not fault.wants:
            time.sleep(peace_s)
        try:
            fault.act(fleet, rng)
        except Missed:
            misses += 1
            assert misses < MISSES * count, f"{misses} aimed faults found nothing to hit"
        else:
            happened.append(Happened(fault.name, time.monotonic()))
    return happened


def counted(happened: list[Happened]) -> str:
    counts = Counter(one.name for one in happened)
    return "\n".join(f"  {count:4} × {name}" for name, count in sorted(counts.items()))
