"""Defines the Grafana dashboard. ``make docs`` writes it to grafana/dashboards/thinkqueue.json."""

import json
import sys
from typing import Any

Query = tuple[str, str]
"""A PromQL expression and its legend."""


def _rate(metric: str) -> str:
    return f"rate(thinkqueue_{metric}[$__rate_interval])"


def _each(metric: str, by: str) -> list[Query]:
    """Query a metric of the job table. Every keeper reports the same value, hence max."""
    return [(f"max by ({by}) (thinkqueue_{metric})", _legend(by))]


def _sum(metric: str, by: str) -> list[Query]:
    """Query the rate of a counter that each process keeps itself."""
    return [(f"sum by ({by}) ({_rate(metric)})", _legend(by))]


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


def _quantiles(metric: str, by: str = "") -> list[Query]:
    grouped = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        (f"histogram_quantile({share}, sum by ({grouped}) ({_rate(metric + '_bucket')}))", f"{legend}p{at}")
        for share, at in ((0.5, 50), (0.95, 95))
    ]


ENDED = f"max by (status, code) ({_rate('jobs_ended_total')})"
FAILED = "max by (code) (" + _rate('jobs_ended_total{status=~"failed|expired"}') + ")"
ROWS: list[tuple[str, list[tuple[str, str, list[Query]]]]] = [
    (
        "Jobs",
        [
            ("Waiting", "short", _each("jobs_waiting", "stage, priority")),
            ("In progress", "short", _each("jobs_in_progress", "stage")),
            ("Oldest wait", "s", _each("oldest_wait_seconds", "stage, priority")),
            ("Ended per second", "short", [(f"sum by (status) ({ENDED})", "{{status}}")]),
            ("Failed and expired, by code", "short", [(FAILED, "{{code}}")]),
            ("Time per phase", "s", _quantiles("phase_seconds", "phase")),
            ("Arrivals per second", "short", _each("arrivals_per_second", "stage")),
            ("Mean job duration on a worker", "s", _each("job_seconds", "stage")),
            (
                "Prepare workers, present and wanted",
                "short",
                [
                    ('max by (state) (thinkqueue_workers{stage="prepare"})', "{{state}}"),
                    ('max(thinkqueue_workers_wanted{stage="prepare"})', "wanted"),
                ],
            ),
        ],
    ),
    (
        "Generate workers",
        [
            (
                "Generate workers, present and wanted",
                "short",
                [
                    ('max by (state) (thinkqueue_workers{stage="generate"})', "{{state}}"),
                    ('max(thinkqueue_workers_wanted{stage="generate"})', "wanted"),
                ],
            ),
            ("Backlog", "s", _each("backlog_seconds", "stage")),
            ("Slots", "short", [('max by (state) (thinkqueue_slots{stage="generate"})', "{{state}}")]),
            ("Time to first token", "s", _quantiles("first_token_seconds")),
            (
                "Tokens per second",
                "short",
                [
                    (f"sum({_rate('engine_sampled_tokens_total')})", "sampled"),
                    (f"sum({_rate('engine_prefill_tokens_total')})", "prefilled"),
                ],
            ),
            (
                "Batch utilization",
                "percentunit",
                [
                    ("sum(thinkqueue_engine_running) / sum(thinkqueue_engine_slots)", "slots in use"),
                    ("1 - sum(thinkqueue_engine_kv_free_tokens) / sum(thinkqueue_engine_kv_tokens)", "KV cache in use"),
                ],
            ),
            (
                "GPU memory in use",
                "bytes",
                [
                    (
                        "thinkqueue_gpu_memory_bytes{state='total'} - on(instance)"
                        " thinkqueue_gpu_memory_bytes{state='free'}",
                        "{{instance}}",
                    )
                ],
            ),
            ("Thinking tokens per job", "short", _quantiles("thinking_tokens")),
            ("Thinking closed, by reason", "short", _sum("thinking_cutoffs_total", "reason")),
            (
                "Leases lost, jobs resumed, jobs released",
                "short",
                [
                    (f"max by (stage) ({_rate('leases_lost_total')})", "lost {{stage}}"),
                    (f"sum({_rate('resumes_total')})", "resumed"),
                    (f"sum({_rate('jobs_released_total')})", "released"),
                ],
            ),
        ],
    ),
    (
        "API and deliveries",
        [
            ("Requests per second", "reqps", _sum("requests_total", "route, status")),
            ("Request duration", "s", _quantiles("request_seconds", "route")),
            ("Refusals per second", "short", _sum("refusals_total", "code")),
            ("Event streams", "short", [("sum(thinkqueue_streams)", "open")]),
            (
                "Deliveries",
                "short",
                [
                    ("max(thinkqueue_deliveries_open)", "open"),
                    ("max(thinkqueue_deliveries_due)", "due"),
                    (f"sum by (outcome) ({_rate('deliveries_total')})", "{{outcome}} per second"),
                ],
            ),
            ("Delivery duration", "s", _quantiles("delivery_seconds")),
            ("Oldest delivery", "s", [("max(thinkqueue_oldest_delivery_seconds)", "age")]),
            (
                "Redis memory",
                "bytes",
                [("max(thinkqueue_redis_used_bytes)", "used"), ("max(thinkqueue_redis_limit_bytes)", "limit")],
            ),
            ("Streams not archived", "short", [("max(thinkqueue_streams_unarchived)", "streams")]),
        ],
    ),
]


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append(
            {
                "type": "row",
                "title": title,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": top},
                "collapsed": False,
                "panels": [],
            }
        )
        for number, (name, unit, queries) in enumerate(row):
            place = {"h": 7, "w": 8, "x": 8 * (number % 3), "y": top + 1 + 7 * (number // 3)}
            panels.append(_panel(name, unit, queries, place))
        top += 1 + 7 * -(-len(row) // 3)
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": "thinkqueue",
        "title": "thinkqueue",
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }


def _panel(title: str, unit: str, queries: list[Query], place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    targets = [
        {"refId": chr(65 + number), "expr": expr, "legendFormat": legend, "datasource": source}
        for number, (expr, legend) in enumerate(queries)
    ]
    defaults = {"unit": unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
    return {
        "type": "timeseries",
        "title": title,
        "gridPos": place,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
