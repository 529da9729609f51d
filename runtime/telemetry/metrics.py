"""Prometheus metrics of one process, which it serves on its MONITOR_PORT.

Metrics of the whole service (queues, workers, ended jobs) are in ``jobs/service_metrics.py``. The child
processes of the prepare worker have no metrics: the job table counts their jobs when they end.
"""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600)
TOKENS = (16, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536)

# ── every process ──
BUILD_INFO = Gauge(
    "thinkqueue_build_info", "1 while the process runs, with its version and name.", ["version", "process"]
)

STORE_SECONDS = Histogram(
    "thinkqueue_store_seconds",
    "Time of a call that was answered: of a script in Redis (store redis), or of an operation of the object store "
    "(store objects), retries included.",
    ["store", "operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
STORE_ERRORS = Counter(
    "thinkqueue_store_errors_total", "Calls that Redis or the object store did not answer.", ["store", "operation"]
)

# ── api ──
REQUESTS = Counter("thinkqueue_requests_total", "HTTP requests.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "thinkqueue_request_seconds",
    "Time until the first byte of the response, without calls that waited as the client asked (Prefer: wait).",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
WAIT_SECONDS = Histogram(
    "thinkqueue_wait_seconds",
    "Time until the first byte of the response, of calls that waited as the client asked (Prefer: wait).",
    ["method", "route"],
    buckets=SECONDS[:11],
)
REFUSALS = Counter("thinkqueue_refusals_total", "Refused requests by error code.", ["code"])
STREAMS = Gauge("thinkqueue_streams", "Open event streams of this process.")

# ── generate worker ──
PHASE_SECONDS = Histogram(
    "thinkqueue_phase_seconds",
    "Time of a generated job in each phase: prepared (from the 202 to ready inputs), queued, prefill, decode.",
    ["phase"],
    buckets=SECONDS,
)
FIRST_TOKEN_SECONDS = Histogram(
    "thinkqueue_first_token_seconds", "Time from a generate worker's claim to its first token.", buckets=SECONDS
)
OUTPUT_TOKEN_SECONDS = Histogram(
    "thinkqueue_output_token_seconds",
    "Time per output token of a job after the first one that this worker generated.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)
THINKING_TOKENS = Histogram("thinkqueue_thinking_tokens", "Thinking tokens per job.", buckets=TOKENS)
CUTOFFS = Counter("thinkqueue_thinking_cutoffs_total", "Jobs whose thinking the service closed, by reason.", ["reason"])
RESUMES = Counter("thinkqueue_resumes_total", "Jobs resumed from another worker's journal.")
JOBS_RELEASED = Counter("thinkqueue_jobs_released_total", "Unfinished jobs that a worker released to the queue.")
MESSAGES_DROPPED = Counter(
    "thinkqueue_messages_dropped_total", "Messages in a stage's Celery queue that were not sent by this service."
)

# ── keeper ──
DELIVERIES = Counter(
    "thinkqueue_deliveries_total", "Delivery attempts, by the state of the delivery after them.", ["kind", "outcome"]
)
DELIVERY_SECONDS = Histogram(
    "thinkqueue_delivery_seconds", "Duration of one delivery attempt, until the response.", buckets=SECONDS[:10]
)
FIRST_DELIVERY_SECONDS = Histogram(
    "thinkqueue_first_delivery_seconds",
    "Time from the end of a job to the end of the first attempt of its webhook. Not counted: webhooks that waited "
    "for a receiver with too many open requests, and those of redelivered or recovered jobs.",
    buckets=SECONDS,
)
CORRUPT_RESULTS = Counter("thinkqueue_corrupt_results_total", "Stored results that were damaged and were replaced.")
MAINTENANCE_RUNS = Counter("thinkqueue_maintenance_runs_total", "Maintenance loop iterations of the keeper.")


# Exported as 0 before the first event: rate() ignores the first sample of a counter.
for _outcome in ("delivered", "pending", "abandoned"):
    DELIVERIES.labels("webhook", _outcome)
for _phase in ("prepared", "queued", "prefill", "decode"):
    PHASE_SECONDS.labels(_phase)
for _reason in ("budget", "repetition"):
    CUTOFFS.labels(_reason)
