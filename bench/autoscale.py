"""What does the autoscaling decision cost and give? A day, replayed against the real decision code.

    python -m bench.autoscale [--plot docs/images/autoscale.png]   (the plot needs matplotlib)

One day of jobs: a quiet night, office hours, three batches that come at once, and a spot node that is lost at its
busiest. The same jobs meet four rules, all behind the same model of KEDA and its HPA (a look every 15 s, five minutes
of patience before scaling down or to zero) and of a cluster (a worker takes 180 s to be ready, 12 at the most):

ours          jobs/scaling.py, on stats made as lua/stats.lua makes them
queue length  KEDA's usual rule for a Redis list: one worker for each 8 waiting jobs, blind to those that run
queue + run   one worker for each 8 jobs that wait or run
fixed pool    as many as the busiest hour needs, all day

Under each of them idle workers go first, as pod deletion costs have it. Jobs take 4, 20 or 100 s on the mean, which no
rule is told. Times are simulated; nothing here measures a GPU.
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
from jobs.table.stats import HORIZONS_S, QueueStats, ServiceStats, StageStats, WorkerStats

DAY_S = 86_400
SLOTS, STARTUP_S, MOST = 8, 180, 12
JOB_S, SPREAD = (4.0, 20.0, 100.0), 0.8
"""Means of a job on a full worker, one day each; sigma of its lognormal distribution. The load is the same."""
LOOK_S, PATIENCE_S = 15, 300
BATCHES = {3 * 3600: 8_000, 10 * 3600: 24_000, 16 * 3600: 16_000}
"""Work in seconds that comes within a minute, by the second of the day."""
PEAK = 32.0
"""Seconds of work that come in a second, at noon."""
SPOT_LOSS_S = 14 * 3600
LEASE_S = 15
FORGET_S = 300.0
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
    gone: bool = False
    running: dict[int, tuple[Job, float]] = field(default_factory=dict)
    """Jobs with the seconds at which they end."""


@dataclass
class EngineLoad:
    """What arrivals and finished jobs leave in Redis (lua/prelude.lua)."""

    count: float = 0.0
    total: float = 0.0
    at: float = 0.0

    def add(self, now: float, amount: float = 0.0, *, least: float = 0.0) -> None:
        left = math.exp((self.at - now) / FORGET_S)
        if self.count * left < least:
            left = min(1.0, least / max(self.count, 1.0))
        self.count, self.total, self.at = self.count * left + 1, self.total * left + amount, now

    def per_s(self, now: float) -> float:
        return self.count * math.exp((self.at - now) / FORGET_S) / FORGET_S


class Cluster:
    """One day under one rule."""

    def __init__(self, rule: "Rule", arrivals: list[tuple[float, float]]) -> None:
        self.rule = rule
        self.workers: list[Worker] = [Worker(0.0) for _ in range(rule.first)]
        self.line: deque[Job] = deque()
        self.arrived, self.took = EngineLoad(), EngineLoad()
        self.now = 0.0
        self.worker_s = 0.0
        self.released_jobs = 0
        self.jobs: list[Job] = []
        self.curve: list[tuple[float, int, int]] = []
        self._arrivals = arrivals
        self._ends: list[tuple[float, int, Worker]] = []
        self._returns: list[tuple[float, int, Job]] = []
        self._wishes: deque[tuple[float, int]] = deque()
        self._number = 0

    def run(self) -> None:
        position = 0
        for second in range(DAY_S):
            self.now = float(second)
            while position < len(self._arrivals) and self._arrivals[position][0] <= second:
                job = Job(*self._arrivals[position])
                self.jobs.append(job)
                self.line.append(job)
                self.arrived.add(self.now)
                position += 1
            if second == SPOT_LOSS_S:
                self._lose_a_node()
            self._finish_and_start()
            if second % LOOK_S == 0:
                self._scale()
                self.curve.append((second / 3600, len(self.line), len(self.workers)))
            self.worker_s += len(self.workers)

    def stats(self) -> ServiceStats:
        found = tuple(
            WorkerStats("", "generate", self._state(one), SLOTS, SLOTS - len(one.running), {}) for one in self.workers
        )
        job_s = self.took.total / self.took.count if self.took.count else 0.0
        held = sum(len(one.running) for one in self.workers)
        arrivals = self.arrived.per_s(self.now)
        gpu = StageStats({"default": QueueStats(len(self.line), 0)}, held, arrivals, job_s, SLOTS, found)
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
                self.took.add(self.now, job.left_s, least=3)
        while self._returns and self._returns[0][0] <= self.now:
            self.line.appendleft(heapq.heappop(self._returns)[2])
        for worker in self.workers:
            while self.line and worker.ready_at <= self.now and len(worker.running) < SLOTS:
                job = self.line.popleft()
                if job.waited < 0:
                    job.waited = self.now - job.arrived
                self._number += 1
                worker.running[self._number] = (job, self.now + job.left_s)
                heapq.heappush(self._ends, (self.now + job.left_s, self._number, worker))

    def _scale(self) -> None:
        """As an HPA: up at once, down to the most that was wanted within its patience."""
        self._wishes.append((self.now, min(MOST, self.rule.wish(self))))
        while self._wishes[0][0] < self.now - PATIENCE_S:
            self._wishes.popleft()
        target = max(wish for _, wish in self._wishes)
        while len(self.workers) < target:
            self.workers.append(Worker(self.now + STARTUP_S))
        while len(self.workers) > target:
            least_busy = min(self.workers, key=lambda one: (len(one.running), -one.ready_at))
            self._remove(least_busy, after_s=0)

    def _lose_a_node(self) -> None:
        if self.workers:
            self._remove(max(self.workers, key=lambda one: len(one.running)), after_s=LEASE_S)

    def _remove(self, worker: Worker, *, after_s: float) -> None:
        """Its jobs go on elsewhere, from their journals."""
        self.workers.remove(worker)
        for number, (job, ends) in worker.running.items():
            job.left_s = max(1.0, ends - self.now)
            self.released_jobs += 1
            heapq.heappush(self._returns, (self.now + after_s, number, job))
        worker.running.clear()


@dataclass(frozen=True)
class Rule:
    name: str
    wish: Callable[[Cluster], int]
    first: int = 0


def day(seed: int, job_s: float) -> list[tuple[float, float]]:
    """Arrivals: second, and what the job takes."""
    chance = random.Random(seed)
    found, now = [], 0.0
    while (now := now + chance.expovariate(_rate(now) / job_s)) < DAY_S:
        found.append(now)
    for start, work_s in BATCHES.items():
        found += [start + chance.uniform(0, 60) for _ in range(round(work_s / job_s))]
    mu = math.log(job_s) - SPREAD**2 / 2
    return [(moment, chance.lognormvariate(mu, SPREAD)) for moment in sorted(found)]


def _rate(now: float) -> float:
    """Seconds of work a second: little at night, up to PEAK at one in the afternoon."""
    hour = now / 3600
    return 0.03 + PEAK * max(0.0, math.sin(math.pi * (hour - 7) / 12)) if 7 < hour < 19 else 0.03


def rules() -> list[Rule]:
    fixed = math.ceil(PEAK / SLOTS / 0.85)
    return [
        Rule("ours", lambda it: decide_scaling(Stage.GENERATE, it.stats(), PLAN).wanted),
        Rule("queue length", lambda it: math.ceil(len(it.line) / SLOTS)),
        Rule("queue + run", lambda it: math.ceil((len(it.line) + sum(len(w.running) for w in it.workers)) / SLOTS)),
        Rule(f"fixed pool of {fixed}", lambda _: fixed, first=fixed),
    ]


@dataclass(frozen=True)
class SimulatedDay:
    p50: float
    p95: float
    p99: float
    gpu_hours: float
    released_jobs: float
    curve: list[tuple[float, int, int]]


def outcome(rule: Rule, seed: int, job_s: float) -> SimulatedDay:
    cluster = Cluster(rule, day(seed, job_s))
    cluster.run()
    # Whoever never started waited until midnight.
    waits = sorted(job.waited if job.waited >= 0 else DAY_S - job.arrived for job in cluster.jobs)
    p50, p95, p99 = (waits[int(len(waits) * share)] for share in (0.5, 0.95, 0.99))
    return SimulatedDay(p50, p95, p99, cluster.worker_s / 3600, cluster.released_jobs, cluster.curve)


def main() -> None:
    curves: dict[str, list[tuple[float, int, int]]] = {}
    for job_s in JOB_S:
        print(f"\n{len(day(0, job_s)):,} jobs of {job_s:.0f} s a day; medians of {len(SEEDS)} days")
        print(f"{'rule':<18}{'p50 wait':>10}{'p95 wait':>10}{'p99 wait':>10}{'GPU hours':>11}{'released':>13}")
        for rule in rules():
            days = [outcome(rule, seed, job_s) for seed in SEEDS]
            if job_s == JOB_S[1]:
                curves[rule.name] = days[0].curve
            p50, p95, p99, hours, released = (
                statistics.median(getattr(one, name) for one in days)
                for name in ("p50", "p95", "p99", "gpu_hours", "released_jobs")
            )
            print(f"{rule.name:<18}{p50:>9.0f}s{p95:>9.0f}s{p99:>9.0f}s{hours:>11.1f}{released:>13.0f}")
    if "--plot" in sys.argv:
        plot(curves, sys.argv[sys.argv.index("--plot") + 1])


def plot(curves: dict[str, list[tuple[float, int, int]]], path: str) -> None:
    from matplotlib.figure import Figure  # drawn without a screen; only here, because nothing else needs it

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
        more.set_ylim(0, MOST + 1)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
