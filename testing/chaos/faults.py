"""Faults of processes, connections and servers."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from testing.chaos.fleet import FAKETIME, GENERATORS, WORKERS, Fleet
from testing.chaos.workload import Kind

PAST_THE_LEASE_S = 3
"""How much longer than its lease a worker is suspended."""
LOST_BYTES = 6_000
"""At most, of the end of the Redis log: about what a busy second writes."""

LOST_SECOND = "Redis without its last second"

Act = Callable[[Fleet, random.Random], None]


@dataclass(frozen=True)
class Fault:
    name: str
    weight: int
    act: Act
    needs: Kind | None = None
    """The kind of job whose calls it hits; one is admitted right before."""


class NothingHit(Exception):
    """No process made the call in time."""


def kill_worker(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill(rng.choice(WORKERS))


def kill_child(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill_child("prepare", rng.randrange(8))


def kill_api(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill("api")


def sleep_past_lease(fleet: Fleet) -> None:
    time.sleep(fleet.service.table.settings.lease_s + PAST_THE_LEASE_S)


def suspend_worker(fleet: Fleet, rng: random.Random) -> None:
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
    proxy.set_half_open(on=True)
    time.sleep(rng.uniform(1, 6))
    proxy.set_half_open(on=False)


def kill_clients(fleet: Fleet, rng: random.Random) -> None:
    fleet.kill_connections()


def restart_redis(fleet: Fleet, rng: random.Random) -> None:
    fleet.restart("valkey", down_s=rng.uniform(0.5, 4))


def lose_last_second(fleet: Fleet, rng: random.Random) -> None:
    fleet.restart("valkey", down_s=1, lost_bytes=rng.randrange(200, LOST_BYTES))


def suspend_redis(fleet: Fleet, rng: random.Random) -> None:
    fleet.suspend_server("valkey", rng.uniform(2, 8))


def restart_object_store(fleet: Fleet, rng: random.Random) -> None:
    fleet.restart("seaweedfs", down_s=rng.uniform(0.5, 4))


def suspend_object_store(fleet: Fleet, rng: random.Random) -> None:
    fleet.suspend_server("seaweedfs", rng.uniform(2, 8))


def step_clock(fleet: Fleet, rng: random.Random) -> None:
    fleet.step_clock(rng.choice((-3_600, -30, 30, 3_600)))
    time.sleep(2)


FAULTS = [
    Fault("kill -9 of a worker", 8, kill_worker),
    Fault("kill -9 of the fork server or a decoder", 2, kill_child),
    Fault("kill -9 of the api", 2, kill_api),
    Fault("SIGSTOP past the lease", 3, suspend_worker),
    Fault("TERM", 5, drain_worker),
    Fault("connections closed", 4, cut_connections),
    Fault("connections half-open", 2, half_open),
    Fault("CLIENT KILL", 4, kill_clients),
    Fault("Redis restarted", 3, restart_redis),
    Fault(LOST_SECOND, 2, lose_last_second),
    Fault("Redis suspended", 2, suspend_redis),
    Fault("object store restarted", 3, restart_object_store),
    Fault("object store suspended", 2, suspend_object_store),
    *([Fault("clock step in Redis", 3, step_clock)] if FAKETIME.exists() else []),
]
