"""What each process counts, by prometheus-client, and what the keeper tells of the job table.

Counts of one process live in it and are told on its own MONITOR_PORT. What is true of the whole service (lines,
workers, ended jobs, deliveries) is in Redis, and is read there when the keeper is asked; two keepers tell the same, so
queries take the maximum. The cpu worker's children count nothing: their jobs are counted by the table when they end.
"""

from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.autoscale import Plan, decide
from jobs.errors import ThinkqueueError
from jobs.figures import Figures, FiguresReader, StageFigures
from jobs.record import Stage
from jobs.settings import Settings

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600)
TOKENS = (16, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536)

# ── api ──
REQUESTS = Counter("thinkqueue_requests_total", "HTTP requests.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "thinkqueue_request_seconds",
    "Until the first byte of the reply; waiting on purpose (Prefer: wait) counts.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
REFUSALS = Counter("thinkqueue_refusals_total", "Requests that were refused, by the error's code.", ["code"])
STREAMS = Gauge("thinkqueue_streams", "Event streams that are open here.")

# ── gpu worker ──
STAGE_SECONDS = Histogram(
    "thinkqueue_stage_seconds",
    "Of jobs that were generated: prepared (from the 202 until it is ready), queued, prefill, decode.",
    ["stage"],
    buckets=SECONDS,
)
FIRST_TOKEN_SECONDS = Histogram(
    "thinkqueue_first_token_seconds", "From a gpu worker's claim to the job's first token there.", buckets=SECONDS
)
THINKING_TOKENS = Histogram("thinkqueue_thinking_tokens", "Thinking tokens of one job.", buckets=TOKENS)
CUTOFFS = Counter("thinkqueue_thinking_cutoffs_total", "Thinking that was closed for the model.", ["reason"])
RESUMES = Counter("thinkqueue_resumes_total", "Jobs that went on from another worker's journal.")
HANDED_BACK = Counter("thinkqueue_handed_back_total", "Jobs that a draining or cut-off worker handed back.")

# ── keeper ──
DELIVERIES = Counter("thinkqueue_deliveries_total", "Tries to deliver, by what followed.", ["kind", "outcome"])
DELIVERY_SECONDS = Histogram("thinkqueue_delivery_seconds", "One try, until its answer.", buckets=SECONDS[:10])
ROUNDS = Counter("thinkqueue_keeper_rounds_total", "Looks of the keeper at what is overdue.")


# Told as 0 before the first one comes: a rate over a counter's birth would miss it.
for _outcome in ("delivered", "pending", "abandoned"):
    DELIVERIES.labels("webhook", _outcome)
for _stage in ("prepared", "queued", "prefill", "decode"):
    STAGE_SECONDS.labels(_stage)
for _reason in ("budget", "repetition"):
    CUTOFFS.labels(_reason)


class TableCollector(Collector):
    """The job table at the time of the question; a store that does not answer is told as ``thinkqueue_table_up 0``."""

    def __init__(self, reader: FiguresReader, settings: Settings) -> None:
        self._reader = reader
        self._plans = {stage: Plan.of(stage, settings) for stage in Stage}

    def describe(self) -> list[Metric]:
        """Asked at registration, when nothing is to be read yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            figures = self._reader.read()
        except ThinkqueueError:
            yield GaugeMetricFamily("thinkqueue_table_up", "1: the job table answers.", value=0)
            return
        yield GaugeMetricFamily("thinkqueue_table_up", "1: the job table answers.", value=1)
        yield from _lines(figures)
        yield from _workers(figures)
        yield from self._decisions(figures)
        yield from _rest(figures)
        yield from _totals(figures)

    def _decisions(self, figures: Figures) -> Iterator[Metric]:
        wanted = GaugeMetricFamily("thinkqueue_workers_wanted", "What GET /v1/autoscale says.", labels=["stage"])
        backlog = GaugeMetricFamily(
            "thinkqueue_backlog_seconds", "Until present workers have done what waits; -1: none.", labels=["stage"]
        )
        for stage in Stage:
            decision = decide(stage, figures, self._plans[stage])
            wanted.add_metric([stage], decision.wanted)
            backlog.add_metric([stage], decision.backlog_s)
        yield from (wanted, backlog)


def tell_of_table(reader: FiguresReader, settings: Settings) -> None:
    REGISTRY.register(TableCollector(reader, settings))


def _lines(figures: Figures) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("thinkqueue_jobs_waiting", "Jobs in line.", labels=["stage", "lane"])
    held = GaugeMetricFamily("thinkqueue_jobs_held", "Jobs that a worker has.", labels=["stage"])
    head = GaugeMetricFamily(
        "thinkqueue_head_age_seconds", "How long the next job of a line has waited.", labels=["stage", "lane"]
    )
    arrivals = GaugeMetricFamily("thinkqueue_arrivals_per_second", "Into a line, of late.", labels=["stage"])
    job = GaugeMetricFamily("thinkqueue_job_seconds", "That a worker has a job, on the mean of late.", labels=["stage"])
    for stage, found in figures.stages.items():
        for lane, line in found.lanes.items():
            waiting.add_metric([stage, lane], line.waiting)
            head.add_metric([stage, lane], line.head_s)
        held.add_metric([stage], found.held)
        arrivals.add_metric([stage], found.arrivals_per_s)
        job.add_metric([stage], found.job_s)
    yield from (waiting, head, held, arrivals, job)


def _workers(figures: Figures) -> Iterator[Metric]:
    workers = GaugeMetricFamily("thinkqueue_workers", "Workers that beat within a lease.", labels=["stage", "state"])
    slots = GaugeMetricFamily("thinkqueue_slots", "Of ready workers.", labels=["stage", "state"])
    for stage, found in figures.stages.items():
        for state in ("starting", "ready", "draining"):
            workers.add_metric([stage, state], len(found.in_state(state)))
        for state, count in _slots(found).items():
            slots.add_metric([stage, state], count)
    workers.add_metric(["keeper", "ready"], figures.keepers)
    yield from (workers, slots)


def _slots(found: StageFigures) -> dict[str, int]:
    ready = found.in_state("ready")
    free = sum(worker.free for worker in ready)
    return {"free": free, "busy": sum(worker.slots for worker in ready) - free}


def _rest(figures: Figures) -> Iterator[Metric]:
    for name, text, value in (
        ("thinkqueue_deliveries_due", "Deliveries whose time has come.", figures.deliveries_due),
        ("thinkqueue_deliveries_open", "Deliveries that are not settled.", figures.deliveries_open),
        ("thinkqueue_oldest_delivery_seconds", "Age of the oldest of them.", figures.oldest_delivery_s),
        ("thinkqueue_streams_unarchived", "Ended jobs whose events are in Redis only.", figures.unarchived),
        ("thinkqueue_redis_used_bytes", "Memory of Redis.", figures.memory_used),
        ("thinkqueue_redis_limit_bytes", "Its maxmemory; 0: none.", figures.memory_limit),
    ):
        yield GaugeMetricFamily(name, text, value=value)


def _totals(figures: Figures) -> Iterator[Metric]:
    """Counters that live in Redis: each job once, whichever process ended it."""
    ended = CounterMetricFamily("thinkqueue_jobs_ended", "Jobs by how they ended.", labels=["status", "code"])
    lost = CounterMetricFamily("thinkqueue_leases_lost", "Jobs taken from a worker that was lost.", labels=["stage"])
    tokens = CounterMetricFamily("thinkqueue_tokens", "Tokens of ended jobs.", labels=["kind"])
    for stage in Stage:
        lost.add_metric([stage], figures.totals.get(f"lost:{stage}", 0))
    for kind in ("input", "thinking", "answer"):
        tokens.add_metric([kind], figures.totals.get(f"tokens:{kind}", 0))
    for name, count in figures.totals.items():
        status, _, code = name.partition(":")
        if status not in ("lost", "tokens"):
            ended.add_metric([status, code], count)
    yield from (ended, lost, tokens)
