"""The state of the service, read in one short call: for metrics, autoscaling, ``status`` and ``doctor``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from jobs.model.job import Stage
from jobs.table.scripts import LuaScripts

HORIZONS_S = (60, 300, 900, 3600)
"""Jobs whose deadline is within each of these times are counted."""

TURNAROUND_BOUNDS_S = ("1", "2.5", "5", "10", "30", "60", "120", "300", "600", "1800", "3600", "14400", "86400", "+Inf")
"""Upper bounds of the buckets in which lua/execution/finish.lua counts ended jobs."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    waiting: int
    oldest_wait_s: float
    """How long its first job has waited."""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    id: str
    stage: str
    state: str
    """``starting``, ``ready`` or ``draining``."""
    slots: int
    free: int
    details: Mapping[str, str]
    """The other fields of its heartbeat."""

    @property
    def is_busy(self) -> bool:
        return self.free < self.slots


@dataclass(frozen=True, slots=True)
class StageStats:
    priorities: Mapping[str, QueueStats]
    in_progress: int
    """Jobs that a worker has."""
    arrivals_per_s: float
    """Jobs entering the stage, 5-minute decay."""
    job_s: float
    """Mean job duration on a worker, 5-minute decay; 0: no job has ended yet."""
    slots: int
    """Of the last ready worker; 0: there was none yet."""
    workers: tuple[WorkerStats, ...]

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self.priorities.values())

    def in_state(self, *states: str) -> list[WorkerStats]:
        return [worker for worker in self.workers if worker.state in states]


@dataclass(frozen=True, slots=True)
class ServiceStats:
    stages: Mapping[Stage, StageStats]
    keepers: int
    must_start: Mapping[int, int]
    """Number of jobs that a generate worker must start within so many seconds, for each horizon."""
    deliveries_due: int
    deliveries_open: int
    """Not settled, whenever their next attempt is."""
    oldest_delivery_s: float
    unarchived: int
    memory_used: int
    memory_limit: int
    """Bytes of Redis; 0: it has no limit."""
    totals: Mapping[str, int]
    """Counters since the epoch; see lua/prelude.lua."""
    delivery_tenants: int = 0
    """Tenants with deliveries that are not settled."""
    turnaround: Mapping[str, int] = field(default_factory=dict)
    """Ended jobs by the time since they were accepted; see lua/prelude.lua."""

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
            delivery_tenants=found["deliveries"]["tenants"],
            turnaround={name: int(count) for name, count in dict(found["turnaround"]).items()},
        )


class StatsReader:
    """Reads ServiceStats. Safe to share between threads."""

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._scripts = LuaScripts(client)
        self._lease_ms = round(lease_s * 1000)

    def read(self) -> ServiceStats:
        """Read the state of the service. Raises StoreUnavailable, RecoveryNeeded."""
        horizons = [seconds * 1000 for seconds in HORIZONS_S]
        return ServiceStats.from_json(self._scripts.call("stats", self._lease_ms, *horizons)[1])


def _worker(row: dict[str, str]) -> WorkerStats:
    slots, free = int(row.pop("slots")), int(row.pop("free"))
    return WorkerStats(row.pop("id"), row.pop("stage"), row.pop("state"), slots, free, row)


def _stage(stage: Stage, row: dict[str, Any], workers: tuple[WorkerStats, ...]) -> StageStats:
    return StageStats(
        priorities={
            priority: QueueStats(queue["waiting"], queue["oldest_wait_ms"] / 1000)
            for priority, queue in row["priorities"].items()
        },
        in_progress=row["in_progress"],
        arrivals_per_s=row["arrivals_per_s"],
        job_s=row["job_ms"] / 1000,
        slots=row["slots"],
        workers=tuple(worker for worker in workers if worker.stage == stage),
    )
