"""Makes the Grafana dashboard of observe/rows.py. ``make docs`` writes it to grafana/dashboards/thinkqueue.json."""

import json
import sys
from typing import Any

from observe.panels import Panel
from observe.rows import ROWS

VARIABLES = {
    "instance": "label_values(thinkqueue_build_info, instance)",
    "stage": "label_values(thinkqueue_jobs_waiting, stage)",
    "priority": "label_values(thinkqueue_jobs_waiting, priority)",
}
"""What the reader chooses, and where its values come from. All of them at first."""
SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []})
        for number, panel in enumerate(row):
            place = {"h": 7, "w": 8, "x": 8 * (number % 3), "y": top + 1 + 7 * (number // 3)}
            panels.append(_panel(panel, place))
        top += 1 + 7 * -(-len(row) // 3)
    for number, content in enumerate(panels, 1):
        content["id"] = number
    source = {"name": "source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "thinkqueue",
        "title": "thinkqueue",
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source, *(_variable(name, query) for name, query in VARIABLES.items())]},
        "panels": panels,
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,  # when the time range changes: processes come and go
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(65 + number), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for number, (expr, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if not panel.is_number:
        has_lines = len(_steps(panel)) > 1
        defaults |= {
            "min": 0,
            "custom": {
                "fillOpacity": 10,
                "showPoints": "never",
                "thresholdsStyle": {"mode": "line" if has_lines else "off"},
            },
        }
    defaults["thresholds"] = {"mode": "absolute", "steps": _steps(panel)}
    return {
        "type": "stat" if panel.is_number else "timeseries",
        "title": panel.title,
        "description": panel.text,
        "gridPos": place,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


def _steps(panel: Panel) -> list[dict[str, Any]]:
    if panel.is_number:  # of 1
        return [{"color": "red", "value": None}, {"color": "yellow", "value": 0.25}, {"color": "green", "value": 0.5}]
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    limits = {"yellow": panel.warn, "red": panel.alarm}
    return steps + [{"color": color, "value": value} for color, value in limits.items() if value is not None]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
