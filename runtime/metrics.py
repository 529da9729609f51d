"""Prometheus metrics that each process counts itself and serves on its MONITOR_PORT.

Metrics of the whole service (queues, workers, ended jobs) are in ``jobs/service_metrics.py``. The children of the
prepare worker count nothing: the job table counts their jobs when they end.
"""

from prometheus_client import Counter, Gauge, Histogram

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

# ── generate worker ──
STAGE_SECONDS = Histogram(
    "thinkqueue_stage_seconds",
    "Of jobs that were generated: prepared (from the 202 until it is ready), queued, prefill, decode.",
    ["stage"],
    buckets=SECONDS,
)
FIRST_TOKEN_SECONDS = Histogram(
    "thinkqueue_first_token_seconds", "From a generate worker's claim to the job's first token there.", buckets=SECONDS
)
THINKING_TOKENS = Histogram("thinkqueue_thinking_tokens", "Thinking tokens of one job.", buckets=TOKENS)
CUTOFFS = Counter("thinkqueue_thinking_cutoffs_total", "Thinking that was closed for the model.", ["reason"])
RESUMES = Counter("thinkqueue_resumes_total", "Jobs that went on from another worker's journal.")
JOBS_RELEASED = Counter("thinkqueue_jobs_released_total", "Jobs that a worker released to the queue unfinished.")

# ── keeper ──
DELIVERIES = Counter(
    "thinkqueue_deliveries_total", "Delivery attempts, by the state of the delivery after them.", ["kind", "outcome"]
)
DELIVERY_SECONDS = Histogram(
    "thinkqueue_delivery_seconds", "Duration of one delivery attempt, until the response.", buckets=SECONDS[:10]
)
MAINTENANCE_RUNS = Counter("thinkqueue_maintenance_runs_total", "Maintenance loop iterations of the keeper.")


# Told as 0 before the first one comes: a rate over a counter's birth would miss it.
for _outcome in ("delivered", "pending", "abandoned"):
    DELIVERIES.labels("webhook", _outcome)
for _stage in ("prepared", "queued", "prefill", "decode"):
    STAGE_SECONDS.labels(_stage)
for _reason in ("budget", "repetition"):
    CUTOFFS.labels(_reason)
