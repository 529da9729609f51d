"""The rows of the dashboard: what each panel shows, what it means, and which values need attention."""

from observe.generate_row import GENERATE
from observe.panels import INSTANCE, Panel, Query, largest, quantiles, rate, rates, table_rate, workers
from observe.slo import OBJECTIVES, Objective, ratio


def _turnaround(share: float) -> Query:
    buckets = table_rate('turnaround_seconds_bucket{priority=~"$priority"}')
    return (
        f"histogram_quantile({share}, sum by (le, priority) (max by (le, priority, status) ({buckets})))",
        f"{{{{priority}}}} p{share * 100:.0f}",
    )


def _burn_rates(objective: Objective) -> Panel:
    return Panel(
        f"Burn rate: {objective.name.replace('_', ' ')}",
        "short",
        [(f"{ratio(objective, window)} / {1 - objective.target:.6g}", window) for window in ("1h", "6h", "3d")],
        f"{objective.summary} At 1 the error budget of 30 days ({1 - objective.target:.1%}) is used up in 30 days. "
        f"{objective.alert} pages at 14.4 (1h) and 6 (6h).",
        warn=1,
        alarm=6,
    )


def _budget(objective: Objective) -> Query:
    return (f"1 - {ratio(objective, '3d')} / {10 * (1 - objective.target):.6g}", objective.name.replace("_", " "))


WAITING = largest("jobs_waiting", "stage, priority", '{stage=~"$stage", priority=~"$priority"}')
OLDEST = largest("oldest_wait_seconds", "stage, priority", '{stage=~"$stage", priority=~"$priority"}')
ENDED = f"max by (status, code) ({table_rate('jobs_ended_total')})"
SERVER_ERRORS = rate('requests_total{status=~"5.."}')
FAILED = "max by (code) (" + table_rate('jobs_ended_total{status=~"failed|expired"}') + ")"
ROWS: list[tuple[str, list[Panel]]] = [
    (
        "Service level objectives",
        [
            Panel(
                "Error budget left",
                "percentunit",
                [_budget(objective) for objective in OBJECTIVES],
                "Of 30 days, if the last three days are all of the errors. Below zero the objective is missed.",
                is_number=True,
            ),
            *(_burn_rates(objective) for objective in OBJECTIVES),
            Panel(
                "Time from accepted to ended",
                "s",
                [_turnaround(0.5), _turnaround(0.95)],
                "Of all jobs that ended, by priority. The objective is 30 minutes for 99 % of those that are not low.",
                alarm=1_800,
            ),
            Panel(
                "Time from ended to the first webhook",
                "s",
                quantiles("first_delivery_seconds", shares=(0.5, 0.95, 0.99)),
                "The objective is a minute for 99 %. What a receiver answers does not count.",
                alarm=60,
            ),
        ],
    ),
    (
        "Jobs",
        [
            Panel("Waiting", "short", WAITING, "Jobs that no worker has claimed."),
            Panel(
                "Oldest wait",
                "s",
                OLDEST,
                "Of the first job of each queue. ThinkqueueJobsWaitLong pages at 30 minutes.",
                600,
                1_800,
            ),
            Panel("In progress", "short", largest("jobs_in_progress", "stage"), "Jobs that a worker holds."),
            Panel("Ended per second", "short", [(f"sum by (status) ({ENDED})", "{{status}}")], "Each job counts once."),
            Panel(
                "Failed and expired, by code",
                "short",
                [(FAILED, "{{code}}")],
                "docs/errors.md has every code. Those of the service, such as worker_lost, need attention.",
            ),
            Panel(
                "Time per phase",
                "s",
                quantiles("phase_seconds", "phase"),
                "Of generated jobs: the phase that grows names the bottleneck.",
            ),
            Panel(
                "Arrivals per second", "short", largest("arrivals_per_second", "stage"), "Mean of about five minutes."
            ),
            Panel(
                "Mean job duration on a worker",
                "s",
                largest("job_seconds", "stage"),
                "Mean of about five minutes; autoscaling uses it.",
            ),
            Panel(
                "Prepare workers, present and wanted",
                "short",
                workers("prepare"),
                "wanted is what the autoscaler reads.",
            ),
        ],
    ),
    GENERATE,
    (
        "API and deliveries",
        [
            Panel("Requests per second", "reqps", rates("requests_total", "route, status"), "By route and status."),
            Panel(
                "Share of 5xx responses",
                "percentunit",
                [
                    (
                        f"(sum({SERVER_ERRORS}) or vector(0)) / sum({rate('requests_total')})",
                        "5xx",
                    )
                ],
                "The objective is below 0.1 %.",
                0.001,
                0.01,
            ),
            Panel(
                "Request duration",
                "s",
                quantiles("request_seconds", "route"),
                "Until the first byte, without calls with Prefer: wait, which wait for a job.",
                0.5,
                2.5,
            ),
            Panel(
                "Duration of calls with Prefer: wait",
                "s",
                quantiles("wait_seconds"),
                "They end with their job, or after the time that the client named.",
            ),
            Panel("Refusals per second", "short", rates("refusals_total", "code"), "docs/errors.md has every code."),
            Panel(
                "Event streams",
                "short",
                [(f"sum(thinkqueue_streams{{{INSTANCE}}})", "open")],
                "Clients that follow a job.",
            ),
            Panel(
                "Memory of processes",
                "bytes",
                [
                    (
                        f"max by (process) (process_resident_memory_bytes{{{INSTANCE}}}"
                        " * on (instance) group_left (process) thinkqueue_build_info)",
                        "{{process}}",
                    )
                ],
                "The largest of each program, without the processes that it starts.",
            ),
            Panel(
                "Deliveries",
                "short",
                [
                    ("max(thinkqueue_deliveries_open)", "open"),
                    ("max(thinkqueue_deliveries_due)", "due"),
                    (f"sum by (outcome) ({rate('deliveries_total')})", "{{outcome}} per second"),
                ],
                "pending is retried later: one tenant's receiver that is down raises it and needs no action.",
            ),
            Panel(
                "Delivery duration",
                "s",
                quantiles("delivery_seconds"),
                "Of one attempt, until the receiver's response.",
            ),
            Panel(
                "Oldest delivery",
                "s",
                [("max(thinkqueue_oldest_delivery_seconds)", "age")],
                "Of those that are not settled; retries go on for days.",
            ),
        ],
    ),
    (
        "Redis and object store",
        [
            Panel(
                "Redis answers",
                "short",
                [("max(thinkqueue_table_up)", "up")],
                "0: new jobs are refused and running jobs cannot end.",
                is_number=True,
            ),
            Panel(
                "Redis memory",
                "bytes",
                [("max(thinkqueue_redis_used_bytes)", "used"), ("max(thinkqueue_redis_limit_bytes)", "limit")],
                "At 80 % of the limit new jobs are refused.",
            ),
            Panel(
                "Redis, 95 % of calls by script",
                "s",
                quantiles("store_seconds", "operation", '{store="redis"}', (0.95,)),
                "Scripts take less than a millisecond on the server; more is the network, or too little CPU.",
                0.05,
                0.5,
            ),
            Panel(
                "Object store, 95 % of calls by operation",
                "s",
                quantiles("store_seconds", "operation", '{store="objects"}', (0.95,)),
                "Every 202 and every result waits for a PUT.",
                0.5,
                2.5,
            ),
            Panel(
                "Calls without an answer per second",
                "short",
                rates("store_errors_total", "store, operation"),
                "The server was away, or too slow.",
                alarm=1,
            ),
            Panel(
                "Streams not archived",
                "short",
                [("max(thinkqueue_streams_unarchived)", "streams")],
                "Ended jobs whose events are in Redis only. It grows while the object store is away.",
                500,
                1_000,
            ),
        ],
    ),
]
