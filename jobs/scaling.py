"""Decides how many workers a stage needs, for ``GET /v1/autoscale``, KEDA, the status command and a benchmark.

A worker finishes ``slots / job_s`` jobs per second. The decision is the largest of these:

1. Backlog: jobs that would still wait when a worker requested now is ready (``startup_s`` from now) justify more
   workers, as many as finish them within ``wait_s``. Starting workers count as ready. Without such jobs, only as many
   workers are kept as finish the waiting jobs within ``wait_s``.
2. Arrivals: as many as keep up with the arrival rate.
3. Deadlines: as many as start the jobs that must start within 1, 5, 15 and 60 minutes.
4. With nothing to do, one worker is kept while the next job is expected within ``idle_s``.
5. Never fewer than the workers that have jobs.
"""

from dataclasses import dataclass
from math import ceil

from jobs.model.job import Stage
from jobs.table.reports.stats import ServiceStats, StageStats
from runtime.settings import Settings

UNMEASURED_JOB_S = {Stage.PREPARE: 1.0, Stage.GENERATE: 20.0}
"""Job duration until the first job has ended: one image, and 2,000 tokens at 100 per second."""
DEFAULT_ENGINE_SLOTS = 16
"""Of a generate worker on a CPU, the smaller of the two in engine/loading/allocate.py."""
MAX_UTILIZATION = 0.85
"""Of workers that keep up with arrivals: at full utilization a queue grows without bound."""
STARTUP_S = {Stage.PREPARE: 10.0}
"""Of the generate stage it is a setting: it depends on the model and its volume."""


@dataclass(frozen=True, slots=True)
class ScalingTargets:
    """What an operator wants for one stage."""

    wait_s: float
    """The longest that jobs should wait."""
    startup_s: float
    """From the request for a worker until it is ready."""
    idle_s: float
    """An idle worker is kept while the next job is expected within this time."""
    unmeasured_slots: int = 1
    """Slots of a worker until the first one is ready."""

    @classmethod
    def for_stage(cls, stage: Stage, settings: Settings) -> "ScalingTargets":
        startup_s = STARTUP_S.get(stage, settings.autoscale_startup_s)
        engine_slots = settings.engine_slots or DEFAULT_ENGINE_SLOTS
        slots = settings.prepare_slots if stage == Stage.PREPARE else engine_slots
        return cls(settings.autoscale_wait_s, startup_s, settings.autoscale_idle_s, slots)


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    wanted: int
    """Number of workers."""
    reason: str
    """The largest demand: ``busy``, ``backlog``, ``arrivals``, ``deadlines``, ``warm`` or ``idle``."""
    backlog_s: float
    """Time in which the present workers, including starting ones, finish the waiting jobs; -1: there are no workers."""
    jobs_per_s: float
    """Estimated rate of one worker."""


def decide_scaling(stage: Stage, stats: ServiceStats, targets: ScalingTargets) -> ScalingDecision:
    """Return the number of workers that a stage needs."""
    found = stats.stages[stage]
    rate = _jobs_per_s(stage, found, targets)
    waiting = found.waiting + _in_prepare(stage, stats)
    present = len(found.in_state("starting", "ready"))
    arrivals = found.arrivals_per_s
    # Before the first job has ended, the arrivals are the waiting jobs: they must not be counted twice.
    expected = arrivals if found.job_s else 0.0
    has_work = waiting > 0 or found.in_progress > 0
    demands = {
        "busy": sum(worker.is_busy for worker in found.in_state("starting", "ready")),
        "backlog": _for_backlog(waiting, expected, rate, present, targets),
        "arrivals": ceil(arrivals / (rate * MAX_UTILIZATION)) if has_work else 0,
        "deadlines": _for_deadlines(stats, rate, targets) if stage == Stage.GENERATE else 0,
        "warm": int(arrivals * targets.idle_s >= 1),
    }
    reason, wanted = max(demands.items(), key=lambda demand: demand[1])
    backlog_s = waiting / (present * rate) if present else -1.0 if waiting else 0.0
    return ScalingDecision(wanted, reason if wanted else "idle", backlog_s, rate)


def _jobs_per_s(stage: Stage, found: StageStats, targets: ScalingTargets) -> float:
    slots = [worker.slots for worker in found.in_state("ready")] or [found.slots or targets.unmeasured_slots]
    return max(sum(slots) / len(slots), 1) / max(found.job_s or UNMEASURED_JOB_S[stage], 0.01)


def _in_prepare(stage: Stage, stats: ServiceStats) -> int:
    """Return how many jobs will soon wait for a generate worker: it starts more slowly than they are prepared."""
    prepare = stats.stages[Stage.PREPARE]
    return prepare.waiting + prepare.in_progress if stage == Stage.GENERATE else 0


def _for_backlog(waiting: int, arrivals: float, rate: float, present: int, targets: ScalingTargets) -> int:
    remaining = waiting + (arrivals - present * rate) * targets.startup_s
    if waiting and remaining > 0:
        return present + max(1, ceil(remaining / (rate * targets.wait_s)))
    return min(present, ceil(waiting / (rate * targets.wait_s)))


def _for_deadlines(stats: ServiceStats, rate: float, targets: ScalingTargets) -> int:
    """Return the workers wanted for the deadlines.

    A worker requested now has the time after its start, at least a tenth of the horizon.
    """
    return max(
        ceil(count / (rate * max(seconds - targets.startup_s, seconds / 10)))
        for seconds, count in stats.must_start.items()
    )
