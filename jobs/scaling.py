"""How many workers a stage wants: a decision in plain arithmetic, for ``GET /v1/autoscale``, KEDA and a bench to share.

A worker finishes ``slots / job_s`` jobs a second. The decision asks, in this order:

1. What would still wait when a worker that is asked for now could begin (``startup_s`` from now)? Only that is worth
   more workers, and as many as do it within ``wait_s``. Workers that start already count as if they were ready.
2. If nothing would: how many keep up with what arrives, or do what waits within ``wait_s``? The others may go.
3. Deadlines: jobs that must start within 1, 5, 15 and 60 minutes need at least so many workers.
4. With nothing to do, one stays as long as the next job is expected within ``idle_s``.
5. Never fewer than have jobs.
"""

from dataclasses import dataclass
from math import ceil

from jobs.model.job import Stage
from jobs.table.stats import ServiceStats, StageStats
from runtime.settings import Settings

UNMEASURED_JOB_S = {Stage.PREPARE: 1.0, Stage.GENERATE: 20.0}
"""Until the first job is done: a picture, and 2,000 tokens at 100 a second."""
UNMEASURED_SLOTS = 1
LOAD = 0.85
"""Of workers that keep up: at full load lines grow without bound."""
STARTUP_S = {Stage.PREPARE: 10.0}
"""The generate stage's is a setting: it depends on the model and its volume."""


@dataclass(frozen=True, slots=True)
class ScalingTargets:
    """What an operator wants of one stage."""

    wait_s: float
    """Jobs should wait no longer."""
    startup_s: float
    """From the wish to a ready worker."""
    idle_s: float
    """A worker with nothing to do is kept while the next job is expected within this time."""

    @classmethod
    def for_stage(cls, stage: Stage, settings: Settings) -> "ScalingTargets":
        startup_s = STARTUP_S.get(stage, settings.autoscale_startup_s)
        return cls(settings.autoscale_wait_s, startup_s, settings.autoscale_idle_s)


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    wanted: int
    reason: str
    """``busy``, ``backlog``, ``arrivals``, ``deadlines``, ``warm`` or ``idle``: what asks for the most."""
    backlog_s: float
    """Until the workers of now, starting ones included, have done what waits; -1: there is none of them."""
    jobs_per_s: float
    """That one worker is taken to do."""


def decide_scaling(stage: Stage, stats: ServiceStats, plan: ScalingTargets) -> ScalingDecision:
    """The workers that a stage wants."""
    found = stats.stages[stage]
    pace = _pace(stage, found)
    waiting = found.waiting + _on_their_way(stage, stats)
    present = len(found.in_state("starting", "ready"))
    arrivals = found.arrivals_per_s
    doing = waiting > 0 or found.in_progress > 0
    wishes = {
        "busy": sum(worker.is_busy for worker in found.in_state("starting", "ready")),
        "backlog": _for_backlog(waiting, arrivals, pace, present, plan),
        "arrivals": ceil(arrivals / (pace * LOAD)) if doing else 0,
        "deadlines": _for_deadlines(stats, pace, plan) if stage == Stage.GENERATE else 0,
        "warm": int(arrivals * plan.idle_s >= 1),
    }
    reason, wanted = max(wishes.items(), key=lambda wish: wish[1])
    backlog_s = waiting / (present * pace) if present else -1.0 if waiting else 0.0
    return ScalingDecision(wanted, reason if wanted else "idle", backlog_s, pace)


def _pace(stage: Stage, found: StageStats) -> float:
    slots = [worker.slots for worker in found.in_state("ready")] or [found.slots or UNMEASURED_SLOTS]
    return max(sum(slots) / len(slots), 1) / max(found.job_s or UNMEASURED_JOB_S[stage], 0.01)


def _on_their_way(stage: Stage, stats: ServiceStats) -> int:
    """Jobs that will be in this line in a moment: a GPU worker takes longer to start than they to be prepared."""
    before = stats.stages[Stage.PREPARE]
    return before.waiting + before.in_progress if stage == Stage.GENERATE else 0


def _for_backlog(waiting: int, arrivals: float, pace: float, present: int, plan: ScalingTargets) -> int:
    left = waiting + (arrivals - present * pace) * plan.startup_s
    if waiting and left > 0:
        return present + max(1, ceil(left / (pace * plan.wait_s)))
    return min(present, ceil(waiting / (pace * plan.wait_s)))


def _for_deadlines(stats: ServiceStats, pace: float, plan: ScalingTargets) -> int:
    """A worker that is asked for now has the time behind its start, a tenth of it in any case."""
    return max(
        ceil(count / (pace * max(seconds - plan.startup_s, seconds / 10)))
        for seconds, count in stats.must_start.items()
    )
