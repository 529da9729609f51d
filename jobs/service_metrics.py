"""Prometheus metrics of the whole service, read from the job table at scrape time.

Queue lengths, workers, ended jobs and deliveries live in Redis, so every keeper reports the same values: queries take
their maximum. Metrics of one process are in ``runtime/metrics.py``.
"""

from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.errors import ThinkqueueError
from jobs.model.job import Stage
from jobs.scaling import ScalingTargets, decide_scaling
from jobs.table.stats import ServiceStats, StageStats, StatsReader
from runtime.settings import Settings


class TableCollector(Collector):
    """The job table at the time of the question; a store that does not answer is told as ``thinkqueue_table_up 0``."""

    def __init__(self, reader: StatsReader, settings: Settings) -> None:
        self._reader = reader
        self._plans = {stage: ScalingTargets.for_stage(stage, settings) for stage in Stage}

    def describe(self) -> list[Metric]:
        """Asked at registration, when nothing is to be read yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            stats = self._reader.read()
        except ThinkqueueError:
            yield GaugeMetricFamily("thinkqueue_table_up", "1: the job table answers.", value=0)
            return
        yield GaugeMetricFamily("thinkqueue_table_up", "1: the job table answers.", value=1)
        yield from _lines(stats)
        yield from _workers(stats)
        yield from self._decisions(stats)
        yield from _rest(stats)
        yield from _totals(stats)

    def _decisions(self, stats: ServiceStats) -> Iterator[Metric]:
        wanted = GaugeMetricFamily("thinkqueue_workers_wanted", "What GET /v1/autoscale says.", labels=["stage"])
        backlog = GaugeMetricFamily(
            "thinkqueue_backlog_seconds", "Until present workers have done what waits; -1: none.", labels=["stage"]
        )
        for stage in Stage:
            decision = decide_scaling(stage, stats, self._plans[stage])
            wanted.add_metric([stage], decision.wanted)
            backlog.add_metric([stage], decision.backlog_s)
        yield from (wanted, backlog)


def register_table_collector(reader: StatsReader, settings: Settings) -> None:
    REGISTRY.register(TableCollector(reader, settings))


def _lines(stats: ServiceStats) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("thinkqueue_jobs_waiting", "Jobs in line.", labels=["stage", "priority"])
    held = GaugeMetricFamily("thinkqueue_jobs_in_progress", "Jobs that a worker has.", labels=["stage"])
    head = GaugeMetricFamily(
        "thinkqueue_oldest_wait_seconds", "How long the next job of a line has waited.", labels=["stage", "priority"]
    )
    arrivals = GaugeMetricFamily("thinkqueue_arrivals_per_second", "Into a line, of late.", labels=["stage"])
    job = GaugeMetricFamily("thinkqueue_job_seconds", "That a worker has a job, on the mean of late.", labels=["stage"])
    for stage, found in stats.stages.items():
        for priority, line in found.priorities.items():
            waiting.add_metric([stage, priority], line.waiting)
            head.add_metric([stage, priority], line.oldest_wait_s)
        held.add_metric([stage], found.in_progress)
        arrivals.add_metric([stage], found.arrivals_per_s)
        job.add_metric([stage], found.job_s)
    yield from (waiting, head, held, arrivals, job)


def _workers(stats: ServiceStats) -> Iterator[Metric]:
    workers = GaugeMetricFamily("thinkqueue_workers", "Workers that beat within a lease.", labels=["stage", "state"])
    slots = GaugeMetricFamily("thinkqueue_slots", "Of ready workers.", labels=["stage", "state"])
    for stage, found in stats.stages.items():
        for state in ("starting", "ready", "draining"):
            workers.add_metric([stage, state], len(found.in_state(state)))
        for state, count in _slots(found).items():
            slots.add_metric([stage, state], count)
    workers.add_metric(["keeper", "ready"], stats.keepers)
    yield from (workers, slots)


def _slots(found: StageStats) -> dict[str, int]:
    ready = found.in_state("ready")
    free = sum(worker.free for worker in ready)
    return {"free": free, "busy": sum(worker.slots for worker in ready) - free}


def _rest(stats: ServiceStats) -> Iterator[Metric]:
    for name, text, value in (
        ("thinkqueue_deliveries_due", "Deliveries whose time has come.", stats.deliveries_due),
        ("thinkqueue_deliveries_open", "Deliveries that are not settled.", stats.deliveries_open),
        ("thinkqueue_oldest_delivery_seconds", "Age of the oldest of them.", stats.oldest_delivery_s),
        ("thinkqueue_streams_unarchived", "Ended jobs whose events are in Redis only.", stats.unarchived),
        ("thinkqueue_redis_used_bytes", "Memory of Redis.", stats.memory_used),
        ("thinkqueue_redis_limit_bytes", "Its maxmemory; 0: none.", stats.memory_limit),
    ):
        yield GaugeMetricFamily(name, text, value=value)


def _totals(stats: ServiceStats) -> Iterator[Metric]:
    """Counters that live in Redis: each job once, whichever process ended it."""
    ended = CounterMetricFamily("thinkqueue_jobs_ended", "Jobs by how they ended.", labels=["status", "code"])
    lost = CounterMetricFamily("thinkqueue_leases_lost", "Jobs taken from a worker that was lost.", labels=["stage"])
    tokens = CounterMetricFamily("thinkqueue_tokens", "Tokens of ended jobs.", labels=["kind"])
    for stage in Stage:
        lost.add_metric([stage], stats.totals.get(f"lost:{stage}", 0))
    for kind in ("input", "thinking", "answer"):
        tokens.add_metric([kind], stats.totals.get(f"tokens:{kind}", 0))
    for name, count in stats.totals.items():
        status, _, code = name.partition(":")
        if status not in ("lost", "tokens"):
            ended.add_metric([status, code], count)
    yield from (ended, lost, tokens)
