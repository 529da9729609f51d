"""What goes wrong: a menu, and a choice from it by a seed."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from jobs.record import LEASE_MS
from tests.chaos.fleet import CALLS, FAKETIME, GPUS, WORKERS, Fleet

PAST_THE_LEASE_S = LEASE_MS / 1000 + 3
TRAP_LIMIT_S = 12.0
LOST_BYTES = 6_000
"""Of Redis' log: about what a busy second writes."""

LOST_SECOND = "Redis without its last second"

Act = Callable[[Fleet, random.Random], None]


@dataclass(frozen=True)
class Fault:
    name: str
    weight: int
    act: Act


@dataclass(frozen=True)
class Happened:
    name: str
    over_at: float
    """On the monotonic clock."""


def kill_worker(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill(rng.choice(WORKERS))


def kill_child(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill_child("cpu", rng.randrange(8))


def kill_api(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill("api")


def freeze_worker(fleet: Fleet, rng: random.Random) -> None:
    name = rng.choice(GPUS)
    fleet.send(name, signal.SIGSTOP)
    time.sleep(PAST_THE_LEASE_S)
    fleet.send(name, signal.SIGCONT)


def drain_worker(fleet: Fleet, rng: random.Random) -> None:
    fleet.drain(rng.choice(WORKERS))
    time.sleep(2)


def cut_connections(fleet: Fleet, rng: random.Random) -> None:
    for proxy in fleet.proxies[rng.choice(WORKERS)]:
        proxy.cut()


def half_open(fleet: Fleet, rng: random.Random) -> None:
    proxy = fleet.proxies[rng.choice(WORKERS)][0]
    proxy.hold(on=True)
    time.sleep(rng.uniform(1, 6))
    proxy.hold(on=False)


def kill_clients(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill_connections()


def restart_redis(fleet: Fleet, rng: random.Random) -> None:
    fleet.restart("valkey", down_s=rng.uniform(0.5, 4))


def lose_last_second(fleet: Fleet, rng: random.Random) -> None:
    fleet.restart("valkey", down_s=1, lost_bytes=rng.randrange(200, LOST_BYTES))


def freeze_redis(fleet: Fleet, rng: random.Random) -> None:
    fleet.freeze_server("valkey", rng.uniform(2, 8))


def restart_blobs(fleet: Fleet, rng: random.Random) -> None:
    fleet.restart("seaweedfs", down_s=rng.uniform(0.5, 4))


def freeze_blobs(fleet: Fleet, rng: random.Random) -> None:
    fleet.freeze_server("seaweedfs", rng.uniform(2, 8))


def step_clock(fleet: Fleet, rng: random.Random) -> None:
    fleet.step_clock(rng.choice((-3_600, -30, 30, 3_600)))
    time.sleep(2)


def _aimed(call: str, when: str, harm: str) -> Act:
    """Hit a gpu worker exactly there; give up when none passes by."""

    def act(fleet: Fleet, rng: random.Random) -> None:
        name = rng.choice(GPUS)
        spring = {
            "kill": lambda: fleet.kill(name),
            "freeze": lambda: fleet.send(name, signal.SIGSTOP),
            "cut": lambda: None,
        }[harm]
        trap = fleet.aim(name, call, when, spring)  # type: ignore[arg-type]
        was_hit = trap.sprung.wait(TRAP_LIMIT_S)
        fleet.proxies[name][0].disarm()
        fleet.proxies[name][1].disarm()
        if was_hit and harm == "freeze":
            time.sleep(PAST_THE_LEASE_S)
        fleet.send(name, signal.SIGCONT)
        if not was_hit:
            raise Missed

    return act


class Missed(Exception):
    """No such call passed by."""


AIMED = [
    Fault(f"{harm} {when} {call}", weight, _aimed(call, when, harm))
    for call in CALLS
    for when in ("before", "behind")
    for harm, weight in (("kill", 2), ("freeze", 1), ("cut", 2))
]
MENU = [
    Fault("kill -9 of a worker", 8, kill_worker),
    Fault("kill -9 of a cpu child", 2, kill_child),
    Fault("kill -9 of the api", 2, kill_api),
    Fault("SIGSTOP past the lease", 3, freeze_worker),
    Fault("TERM", 5, drain_worker),
    Fault("connections cut", 4, cut_connections),
    Fault("connections half-open", 2, half_open),
    Fault("CLIENT KILL", 4, kill_clients),
    Fault("Redis restarted", 3, restart_redis),
    Fault(LOST_SECOND, 2, lose_last_second),
    Fault("Redis frozen", 2, freeze_redis),
    Fault("object store restarted", 3, restart_blobs),
    Fault("object store frozen", 2, freeze_blobs),
    *([Fault("clock step in Redis", 3, step_clock)] if FAKETIME.exists() else []),
    *AIMED,
]


def plan(rng: random.Random, count: int) -> list[Fault]:
    """Each kind about as often as its weight says: whole rounds through the menu, shuffled, then a draw."""
    deck = [fault for fault in MENU for _ in range(fault.weight)]
    chosen: list[Fault] = []
    while len(chosen) < count:
        chosen += rng.sample(deck, len(deck))
    return chosen[:count]


def cause(fleet: Fleet, faults: list[Fault], rng: random.Random, *, before: Callable[[], None]) -> list[Happened]:
    """One after the other, with some peace in between; ``before`` each, something to disturb is made."""
    happened: list[Happened] = []
    for fault in faults:
        before()
        time.sleep(rng.uniform(0.2, 2))
        try:
            fault.act(fleet, rng)
        except Missed:
            continue
        happened.append(Happened(fault.name, time.monotonic()))
    return happened


def counted(happened: list[Happened]) -> str:
    counts = Counter(one.name for one in happened)
    return "\n".join(f"  {count:4} × {name}" for name, count in sorted(counts.items()))
