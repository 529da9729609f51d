"""How the service is doing, from one short call: what metrics, autoscaling, ``status`` and ``doctor`` read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from jobs.model.job import Stage
from jobs.table.scripts import LuaScripts

HORIZONS_S = (60, 300, 900, 3600)
"""Deadlines are counted up to these distances."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    waiting: int
    oldest_wait_s: float
    """How long its next job has waited."""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    id: str
    stage: str
    state: str
    """``starting``, ``ready`` or ``draining``."""
    slots: int
    free: int
    details: Mapping[str, str]
    """Whatever else its heartbeat tells."""

    @property
    def is_busy(self) -> bool:
        return self.free < self.slots


@dataclass(frozen=True, slots=True)
class StageStats:
    priorities: Mapping[str, QueueStats]
    in_progress: int
    """Jobs that a worker has."""
    arrivals_per_s: float
    """Into its line, over the last five minutes or so."""
    job_s: float
    """That a worker has a job, on the mean of late; 0: none has been done yet."""
    slots: int
    """Of one worker, as the last one told; 0: there was none yet."""
    workers: tuple[WorkerStats, ...]

    @property
    def waiting(self) -> int:
        return sum(priority.waiting for priority in self.priorities.values())

    def in_state(self, *states: str) -> list[WorkerStats]:
        return [worker for worker in self.workers if worker.state in states]


@dataclass(frozen=True, slots=True)
class ServiceStats:
    stages: Mapping[Stage, StageStats]
    keepers: int
    must_start: Mapping[int, int]
    """Jobs, by the seconds within which a GPU worker must have started them."""
    deliveries_due: int
    deliveries_open: int
    """Not settled yet, whenever they are tried next."""
    oldest_delivery_s: float
    unarchived: int
    memory_used: int
    memory_limit: int
    """Bytes of Redis; 0: it has no limit."""
    totals: Mapping[str, int]
    """Counters since the epoch, see lua/prelude.lua."""

    @classmethod
    def from_json(cls, text: str) -> "ServiceStats":
        found = json.loads(text)
        workers = tuple(_worker(row) for row in found["workers"])
        return cls(
            stages={stage: _stage(stage, found["stages"][stage], workers) for stage in Stage},
            keepers=sum(worker.stage == "keeper" for worker in workers),
            must_start={int(horizon) // 1000: count for horizon, count in found["must_start"].items()},
            deliveries_due=found["deliveries"]["due"],
            deliveries_open=found["deliveries"]["open"],
            oldest_delivery_s=found["deliveries"]["oldest_ms"] / 1000,
            unarchived=found["unarchived"],
            memory_used=found["memory"]["used"],
            memory_limit=found["memory"]["limit"],
            totals={name: int(count) for name, count in found["totals"].items()},
        )


class StatsReader:
    """Safe to share between threads."""

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._scripts = LuaScripts(client)
        self._lease_ms = round(lease_s * 1000)

    def read(self) -> ServiceStats:
        """Raises StoreUnavailable, RecoveryNeeded."""
        horizons = [seconds * 1000 for seconds in HORIZONS_S]
        return ServiceStats.from_json(self._scripts.call("stats", self._lease_ms, *horizons)[1])


def _worker(row: dict[str, str]) -> WorkerStats:
    slots, free = int(row.pop("slots")), int(row.pop("free"))
    return WorkerStats(row.pop("id"), row.pop("stage"), row.pop("state"), slots, free, row)


def _stage(stage: Stage, row: dict[str, Any], workers: tuple[WorkerStats, ...]) -> StageStats:
    return StageStats(
        priorities={
            priority: QueueStats(line["waiting"], line["oldest_wait_ms"] / 1000)
            for priority, line in row["priorities"].items()
        },
        in_progress=row["in_progress"],
        arrivals_per_s=row["arrivals_per_s"],
        job_s=row["job_ms"] / 1000,
        slots=row["slots"],
        workers=tuple(worker for worker in workers if worker.stage == stage),
    )
