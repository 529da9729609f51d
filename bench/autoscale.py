"""Compare autoscaling rules: replay one day of jobs with the service's own decision code and with three others.

    python -m bench.autoscale [--plot docs/images/autoscale.png]   (the plot needs matplotlib)

A day has a quiet night, office hours, three large batches, and a spot node that is lost at the busiest time. Four rules
get the same jobs, with the same model of KEDA and its HPA (a poll every 15 s, a stabilization window of five minutes
before scaling down or to zero) and of a cluster (a worker takes 180 s to become ready, at most 12 workers):

thinkqueue    jobs/scaling.py, with stats computed as in lua/stats.lua
queue length  KEDA's usual rule for a Redis list: one worker per 8 waiting jobs; running jobs do not count
queue + run   one worker per 8 waiting or running jobs
fixed pool    as many workers as the busiest hour needs, all day

Every rule removes idle workers first, as with pod deletion costs. The mean job duration is 4, 20 or 100 s, which no
rule knows. Times are simulated; nothing here measures a GPU.
"""

import heapq
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.model.job import Stage
from jobs.scaling import ScalingTargets, decide_scaling
from jobs.table.reports.stats import HORIZONS_S, QueueStats, ServiceStats, StageStats, WorkerStats

DAY_S = 86_400
SLOTS, STARTUP_S, MAX_WORKERS = 8, 180, 12
JOB_S, SPREAD = (4.0, 20.0, 100.0), 0.8
"""Mean job durations on a full worker, one day each, and sigma of the lognormal distribution. The load is equal."""
POLL_S, STABILIZATION_S = 15, 300
BATCHES = {3 * 3600: 8_000, 10 * 3600: 24_000, 16 * 3600: 16_000}
"""Seconds of work that arrive within a minute, by second of the day."""
PEAK_LOAD = 32.0
"""Seconds of work that arrive per second at the busiest time."""
SPOT_LOSS_S = 14 * 3600
LEASE_S = 15
DECAY_S = 300.0
SEEDS = range(5)
PLAN = ScalingTargets(wait_s=60, startup_s=STARTUP_S, idle_s=300)


@dataclass
class Job:
    arrived: float
    left_s: float
    waited: float = -1.0


@dataclass(eq=False)
class Worker:
    ready_at: float
    running: dict[int, tuple[Job, float]] = field(default_factory=dict)
    """Jobs and the seconds at which they end."""


@dataclass
class MovingAverage:
    """Decaying count and sum of arrivals or job durations, as in Redis (lua/prelude.lua)."""

    count: float = 0.0
    total: float = 0.0
    at: float = 0.0

    def add(self, now: float, amount: float = 0.0, *, least: float = 0.0) -> None:
        left = math.exp((self.at - now) / DECAY_S)
        if self.count * left < least:
            left = min(1.0, least / max(self.count, 1.0))
        self.count, self.total, self.at = self.count * left + 1, self.total * left + amount, now

    def per_s(self, now: float) -> float:
        return self.count * math.exp((self.at - now) / DECAY_S) / DECAY_S


class Cluster:
    """One day under one rule."""

    def __init__(self, rule: "Rule", arrivals: list[tuple[float, float]]) -> None:
        self.rule = rule
        self.workers: list[Worker] = [Worker(0.0) for _ in range(rule.first)]
        self.queue: deque[Job] = deque()
        self.arrivals_average, self.durations = MovingAverage(), MovingAverage()
        self.now = 0.0
        self.worker_s = 0.0
        self.released = 0
        self.jobs: list[Job] = []
        self.curve: list[tuple[float, int, int]] = []
        self._arrivals = arrivals
        self._ends: list[tuple[float, int, Worker]] = []
        self._returns: list[tuple[float, int, Job]] = []
        self._wanted: deque[tuple[float, int]] = deque()
        self._number = 0

    def run(self) -> None:
        position = 0
        for second in range(DAY_S):
            self.now = float(second)
            while position < len(self._arrivals) and self._arrivals[position][0] <= second:
                job = Job(*self._arrivals[position])
                self.jobs.append(job)
                self.queue.append(job)
                self.arrivals_average.add(self.now)
                position += 1
            if second == SPOT_LOSS_S:
                self._lose_a_node()
            self._finish_and_start()
            if second % POLL_S == 0:
                self._scale()
                self.curve.append((second / 3600, len(self.queue), len(self.workers)))
            self.worker_s += len(self.workers)

    def stats(self) -> ServiceStats:
        found = tuple(
            WorkerStats("", "generate", self._state(one), SLOTS, SLOTS - len(one.running), {}) for one in self.workers
        )
        job_s = self.durations.total / self.durations.count if self.durations.count else 0.0
        in_progress = sum(len(one.running) for one in self.workers)
        arrivals = self.arrivals_average.per_s(self.now)
        gpu = StageStats({"default": QueueStats(len(self.queue), 0)}, in_progress, arrivals, job_s, SLOTS, found)
        prepare = StageStats({}, 0, 0, 0, 0, ())
        stages = {Stage.PREPARE: prepare, Stage.GENERATE: gpu}
        return ServiceStats(stages, 1, dict.fromkeys(HORIZONS_S, 0), 0, 0, 0, 0, 0, 0, {})

    def _state(self, worker: Worker) -> str:
        return "ready" if worker.ready_at <= self.now else "starting"

    def _finish_and_start(self) -> None:
        while self._ends and self._ends[0][0] <= self.now:
            _, number, worker = heapq.heappop(self._ends)
            if number in worker.running:
                job, _ = worker.running.pop(number)
                self.durations.add(self.now, job.left_s, least=3)
        while self._returns and self._returns[0][0] <= self.now:
            self.queue.appendleft(heapq.heappop(self._returns)[2])
        for worker in self.workers:
            while self.queue and worker.ready_at <= self.now and len(worker.running) < SLOTS:
                job = self.queue.popleft()
                if job.waited < 0:
                    job.waited = self.now - job.arrived
                self._number += 1
                worker.running[self._number] = (job, self.now + job.left_s)
                heapq.heappush(self._ends, (self.now + job.left_s, self._number, worker))

    def _scale(self) -> None:
        """Scale like an HPA: up at once, down to the maximum that was wanted within the stabilization window."""
        self._wanted.append((self.now, min(MAX_WORKERS, self.rule.wanted(self))))
        while self._wanted[0][0] < self.now - STABILIZATION_S:
            self._wanted.popleft()
        target = max(wanted for _, wanted in self._wanted)
        while len(self.workers) < target:
            self.workers.append(Worker(self.now + STARTUP_S))
        while len(self.workers) > target:
            least_busy = min(self.workers, key=lambda one: (len(one.running), -one.ready_at))
            self._remove(least_busy, after_s=0)

    def _lose_a_node(self) -> None:
        if self.workers:
            self._remove(max(self.workers, key=lambda one: len(one.running)), after_s=LEASE_S)

    def _remove(self, worker: Worker, *, after_s: float) -> None:
        """Remove a worker. Its jobs continue elsewhere from their journals."""
        self.workers.remove(worker)
        for number, (job, ends) in worker.running.items():
            job.left_s = max(1.0, ends - self.now)
            self.released += 1
            heapq.heappush(self._returns, (self.now + after_s, number, job))
        worker.running.clear()


@dataclass(frozen=True)
class Rule:
    name: str
    wanted: Callable[[Cluster], int]
    first: int = 0


def day(seed: int, job_s: float) -> list[tuple[float, float]]:
    """Return the jobs of a day: second of arrival and duration."""
    chance = random.Random(seed)
    found, now = [], 0.0
    while (now := now + chance.expovariate(_rate(now) / job_s)) < DAY_S:
        found.append(now)
    for start, work_s in BATCHES.items():
        found += [start + chance.uniform(0, 60) for _ in range(round(work_s / job_s))]
    mu = math.log(job_s) - SPREAD**2 / 2
    return [(moment, chance.lognormvariate(mu, SPREAD)) for moment in sorted(found)]


def _rate(now: float) -> float:
    """Return seconds of work per second: little at night, up to PEAK_LOAD at one in the afternoon."""
    hour = now / 3600
    return 0.03 + PEAK_LOAD * max(0.0, math.sin(math.pi * (hour - 7) / 12)) if 7 < hour < 19 else 0.03


def rules() -> list[Rule]:
    fixed = math.ceil(PEAK_LOAD / SLOTS / 0.85)
    return [
        Rule("thinkqueue", lambda it: decide_scaling(Stage.GENERATE, it.stats(), PLAN).wanted),
        Rule("queue length", lambda it: math.ceil(len(it.queue) / SLOTS)),
        Rule("queue + run", lambda it: math.ceil((len(it.queue) + sum(len(w.running) for w in it.workers)) / SLOTS)),
        Rule(f"fixed pool of {fixed}", lambda _: fixed, first=fixed),
    ]


@dataclass(frozen=True)
class DayResult:
    p50: float
    p95: float
    p99: float
    gpu_hours: float
    released: float
    curve: list[tuple[float, int, int]]


def simulate(rule: Rule, seed: int, job_s: float) -> DayResult:
    cluster = Cluster(rule, day(seed, job_s))
    cluster.run()
    # A job that never started waited until midnight.
    waits = sorted(job.waited if job.waited >= 0 else DAY_S - job.arrived for job in cluster.jobs)
    p50, p95, p99 = (waits[int(len(waits) * share)] for share in (0.5, 0.95, 0.99))
    return DayResult(p50, p95, p99, cluster.worker_s / 3600, cluster.released, cluster.curve)


def main() -> None:
    curves: dict[str, list[tuple[float, int, int]]] = {}
    for job_s in JOB_S:
        print(f"\n{len(day(0, job_s)):,} jobs of {job_s:.0f} s per day; medians of {len(SEEDS)} days")
        print(f"{'rule':<18}{'p50 wait':>10}{'p95 wait':>10}{'p99 wait':>10}{'GPU hours':>11}{'released':>13}")
        for rule in rules():
            days = [simulate(rule, seed, job_s) for seed in SEEDS]
            if job_s == JOB_S[1]:
                curves[rule.name] = days[0].curve
            p50, p95, p99, hours, released = (
                statistics.median(getattr(one, name) for one in days)
                for name in ("p50", "p95", "p99", "gpu_hours", "released")
            )
            print(f"{rule.name:<18}{p50:>9.0f}s{p95:>9.0f}s{p99:>9.0f}s{hours:>11.1f}{released:>13.0f}")
    if "--plot" in sys.argv:
        plot(curves, sys.argv[sys.argv.index("--plot") + 1])


def plot(curves: dict[str, list[tuple[float, int, int]]], path: str) -> None:
    from matplotlib.figure import Figure  # optional dependency, needed for --plot only

    figure = Figure(figsize=(9, 1.9 * len(curves)), layout="constrained")
    for number, (name, curve) in enumerate(curves.items()):
        axes = figure.add_subplot(len(curves), 1, number + 1)
        hours, waiting, workers = zip(*curve, strict=True)
        axes.fill_between(hours, waiting, step="post", alpha=0.3, color="tab:red")
        axes.set_ylabel("waiting", color="tab:red")
        axes.set_ylim(0, 1_300)
        axes.set_title(name, loc="left")
        axes.set_xlim(0, 24)
        more = axes.twinx()
        more.step(hours, workers, where="post", color="tab:blue")
        more.set_ylabel("workers", color="tab:blue")
        more.set_ylim(0, MAX_WORKERS + 1)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
