"""Prometheus metrics of the whole service, read from the job table at scrape time.

Queue lengths, workers, ended jobs and deliveries are in Redis, so every keeper reports the same values: queries take
their maximum. Metrics of one process are in ``runtime/telemetry/metrics.py``.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.errors import ThinkqueueError
from jobs.model.failure_codes import FAILURES
from jobs.model.job import PRIORITIES, TERMINAL, Stage
from jobs.scaling import ScalingTargets, decide_scaling
from jobs.table.reports.stats import TURNAROUND_BOUNDS_S, ServiceStats, StageStats, StatsReader
from runtime.settings import Settings

UNKNOWN_CODE = "other"
"""Label of the codes that ``FAILURES`` lacks, for example of another version."""


class TableCollector(Collector):
    """Reports the job table. While Redis does not answer, it reports only ``thinkqueue_table_up 0``."""

    def __init__(self, reader: StatsReader, settings: Settings) -> None:
        self._reader = reader
        self._targets = {stage: ScalingTargets.for_stage(stage, settings) for stage in Stage}

    def describe(self) -> list[Metric]:
        """Return nothing: registration must not read from Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            stats = self._reader.read()
        except ThinkqueueError:
            yield _table_up(0)
            return
        yield _table_up(1)
        yield from _queue_metrics(stats)
        yield from _worker_metrics(stats)
        yield from self._scaling_metrics(stats)
        yield from _single_values(stats)
        yield from _counters(stats)
        yield _turnaround(stats)

    def _scaling_metrics(self, stats: ServiceStats) -> Iterator[Metric]:
        wanted = GaugeMetricFamily(
            "thinkqueue_workers_wanted", "Workers that the autoscaling decision asks for.", labels=["stage"]
        )
        backlog = GaugeMetricFamily(
            "thinkqueue_backlog_seconds",
            "Time in which the present workers finish the waiting jobs; -1 if there are no workers.",
            labels=["stage"],
        )
        for stage in Stage:
            decision = decide_scaling(stage, stats, self._targets[stage])
            wanted.add_metric([stage], decision.wanted)
            backlog.add_metric([stage], decision.backlog_s)
        yield from (wanted, backlog)


def register_table_collector(reader: StatsReader, settings: Settings) -> None:
    """Add the metrics of the whole service to this process."""
    REGISTRY.register(TableCollector(reader, settings))


def _table_up(value: int) -> Metric:
    return GaugeMetricFamily("thinkqueue_table_up", "1 if the job table in Redis answers, otherwise 0.", value=value)


def _queue_metrics(stats: ServiceStats) -> Iterator[Metric]:
    by_queue = ["stage", "priority"]
    waiting = GaugeMetricFamily("thinkqueue_jobs_waiting", "Jobs waiting in the queue.", labels=by_queue)
    oldest = GaugeMetricFamily(
        "thinkqueue_oldest_wait_seconds", "How long the first job of the queue has waited.", labels=by_queue
    )
    in_progress = GaugeMetricFamily("thinkqueue_jobs_in_progress", "Jobs claimed by a worker.", labels=["stage"])
    arrivals = GaugeMetricFamily(
        "thinkqueue_arrivals_per_second", "Jobs entering the stage per second, 5-minute decay.", labels=["stage"]
    )
    duration = GaugeMetricFamily(
        "thinkqueue_job_seconds", "Mean job duration on a worker, 5-minute decay.", labels=["stage"]
    )
    for stage, found in stats.stages.items():
        for priority, queue in found.priorities.items():
            waiting.add_metric([stage, priority], queue.waiting)
            oldest.add_metric([stage, priority], queue.oldest_wait_s)
        in_progress.add_metric([stage], found.in_progress)
        arrivals.add_metric([stage], found.arrivals_per_s)
        duration.add_metric([stage], found.job_s)
    yield from (waiting, oldest, in_progress, arrivals, duration)


def _worker_metrics(stats: ServiceStats) -> Iterator[Metric]:
    by_state = ["stage", "state"]
    workers = GaugeMetricFamily("thinkqueue_workers", "Workers with a heartbeat within one lease.", labels=by_state)
    slots = GaugeMetricFamily("thinkqueue_slots", "Job slots of ready workers.", labels=by_state)
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


def _single_values(stats: ServiceStats) -> Iterator[Metric]:
    for name, text, value in (
        ("thinkqueue_deliveries_due", "Deliveries whose next attempt is due.", stats.deliveries_due),
        ("thinkqueue_deliveries_open", "Deliveries that are not settled.", stats.deliveries_open),
        ("thinkqueue_delivery_tenants", "Tenants with deliveries that are not settled.", stats.delivery_tenants),
        ("thinkqueue_oldest_delivery_seconds", "Age of the oldest unsettled delivery.", stats.oldest_delivery_s),
        ("thinkqueue_streams_unarchived", "Ended jobs whose events are in Redis only.", stats.unarchived),
        ("thinkqueue_redis_used_bytes", "Memory used by Redis.", stats.memory_used),
        ("thinkqueue_redis_limit_bytes", "The maxmemory of Redis; 0 if it has no limit.", stats.memory_limit),
    ):
        yield GaugeMetricFamily(name, text, value=value)


def _counters(stats: ServiceStats) -> Iterator[Metric]:
    """Return the counters in Redis, which count each job once, whichever process ended it."""
    ended = CounterMetricFamily("thinkqueue_jobs_ended", "Ended jobs by status and code.", labels=["status", "code"])
    lost = CounterMetricFamily("thinkqueue_leases_lost", "Jobs requeued because a lease expired.", labels=["stage"])
    tokens = CounterMetricFamily("thinkqueue_tokens", "Tokens of ended jobs.", labels=["kind"])
    for stage in Stage:
        lost.add_metric([stage], stats.totals.get(f"lost:{stage}", 0))
    for kind in ("input", "thinking", "answer"):
        tokens.add_metric([kind], stats.totals.get(f"tokens:{kind}", 0))
    for (status, code), count in _ended(stats.totals).items():
        ended.add_metric([status, code], count)
    yield from (ended, lost, tokens)


def _ended(totals: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Return the ended jobs by status and code, 0 for what has not happened yet: rate() ignores a first sample."""
    own_codes = {"completed": "", "cancelled": "cancelled", "expired": "expired"}
    found = dict.fromkeys(own_codes.items(), 0)
    found |= {("failed", code): 0 for code in (*FAILURES, UNKNOWN_CODE) if code not in own_codes.values()}
    for name, count in totals.items():
        status, _, code = name.partition(":")
        if status in TERMINAL:
            series = (status, code) if (status, code) in found else (status, UNKNOWN_CODE)
            found[series] = found.get(series, 0) + count
    return found


def _turnaround(stats: ServiceStats) -> Metric:
    family = HistogramMetricFamily(
        "thinkqueue_turnaround_seconds",
        "Time from the acceptance of a job to its end, by priority and final status.",
        labels=["priority", "status"],
    )
    for priority in PRIORITIES:
        for status in sorted(TERMINAL):
            series, so_far, buckets = f"{priority}:{status}:", 0, []
            for bound in TURNAROUND_BOUNDS_S:
                so_far += stats.turnaround.get(series + bound, 0)
                buckets.append((bound, so_far))
            family.add_metric([priority, status], buckets, stats.turnaround.get(series + "sum_ms", 0) / 1000)
    return family
