"""What can go wrong with processes, connections and servers."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from testing.chaos.fleet import FAKETIME, GENERATORS, WORKERS, Fleet
from testing.chaos.workload import Kind

PAST_THE_LEASE_S = 3
"""How much longer than its lease a worker is frozen."""
LOST_BYTES = 6_000
"""Of Redis' log: about what a busy second writes."""

LOST_SECOND = "Redis without its last second"

Act = Callable[[Fleet, random.Random], None]


@dataclass(frozen=True)
class Fault:
    name: str
    weight: int
    act: Act
    wants: Kind | None = None
    """It hits a call that passes by: such a job is let in right before."""


class Missed(Exception):
    """There was nothing to hit."""


def kill_worker(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill(rng.choice(WORKERS))


def kill_child(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill_child("prepare", rng.randrange(8))


def kill_api(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill("api")


def sleep_past_lease(fleet: Fleet) -> None:
    time.sleep(fleet.service.table.settings.lease_s + PAST_THE_LEASE_S)


def freeze_worker(fleet: Fleet, rng: random.Random) -> None:
    name = rng.choice(GENERATORS)
    fleet.suspend(name)
    sleep_past_lease(fleet)
    fleet.resume(name)


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


FAULTS = [
    Fault("kill -9 of a worker", 8, kill_worker),
    Fault("kill -9 of a prepare child", 2, kill_child),
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
]
