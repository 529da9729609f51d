"""The queries of the dashboard and of the alerts, run by a real Prometheus that scrapes the real service."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from observe import slo
from observe.dashboard import VARIABLES, dashboard
from testing.inputs.request_bodies import question
from testing.processes.monitored import MonitoredService
from testing.processes.servers import free_ports, stop
from testing.processes.service import Service
from testing.processes.waiting import wait_until

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for name in ("alerts.yml", "slo_alerts.yml")
    for group in yaml.safe_load((ROOT / "observe" / name).read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
ALERT_NAMES = list(dict.fromkeys(rule["alert"] for rule in ALERTS))
QUERIES = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
EVERY_QUERY = [*QUERIES, *(rule["expr"] for rule in RULES)]
NEED_A_GPU = {"thinkqueue_gpu_memory_bytes"}
NAME = re.compile(r"thinkqueue_\w+")


WITH_DATA = (
    'thinkqueue_store_seconds_count{store="redis", operation="accept"} > 0',
    'thinkqueue_store_seconds_count{store="objects", operation="put_if_absent"} > 0',
    "sum(thinkqueue_output_token_seconds_count) > 0",
    "thinkqueue_engine_busy_seconds_total > 0",
    'thinkqueue_request_seconds_count{method="POST", route="/v1/jobs"} == 3',
    'thinkqueue_wait_seconds_count{method="POST", route="/v1/jobs"} == 1',
)
"""What the three jobs of the test, one of them with ``Prefer: wait``, and one refused request must be seen in."""


def with_values(query: str) -> str:
    """Return a query of the dashboard with what Grafana writes for its variables."""
    for name in VARIABLES:
        query = query.replace(f"${name}", ".*")
    return query.replace("$__rate_interval", "30s")


def has_samples(client: httpx.Client, query: str) -> bool:
    return bool(client.get("/query", params={"query": query}).json()["data"]["result"])


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Iterator[httpx.Client]:
    config = folder / "prometheus.yml"
    targets = [f"127.0.0.1:{port}" for port in ports]
    scrape = {"job_name": "thinkqueue", "static_configs": [{"targets": targets}]}
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}), "utf-8")
    port = free_ports()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client:
            yield client
    finally:
        stop(process)


@pytest.mark.slow
@pytest.mark.usefixtures("prometheus_tools")
def test_each_query_is_valid_and_names_an_exposed_metric(isolated_service: Service, tmp_path: Path) -> None:
    monitored = MonitoredService(isolated_service)
    monitored.start(*monitored.ports)
    service = isolated_service
    service.wait_for_workers(prepare=1, generate=1, keeper=1)
    with prometheus(tmp_path, list(monitored.ports.values())) as client:
        for budget in (0, 6):
            job_id = service.submit(messages=question("Hi."), thinking={"budget_tokens": budget}, max_answer_tokens=3)
            service.wait_for_end(job_id)
        body = {"messages": question("Hi."), "thinking": {"budget_tokens": 0}, "max_answer_tokens": 3}
        assert service.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"}).status_code == 200
        service.http.post("/v1/jobs", json={})

        named = {name for query in EVERY_QUERY for name in NAME.findall(query)} - NEED_A_GPU

        def missing() -> set[str]:
            """Return the metrics that queries name and Prometheus does not have."""
            try:
                return named - set(client.get("/label/__name__/values").json()["data"])
            except httpx.HTTPError:
                return named

        wait_until(lambda: not missing(), "every metric is scraped", details=lambda: str(missing()))
        for query in EVERY_QUERY:
            reply = client.get("/query", params={"query": with_values(query)})
            assert reply.json()["status"] == "success", reply.text
        for query in WITH_DATA:
            wait_until(lambda: has_samples(client, query), f"{query} has samples")  # noqa: B023 - called at once
        counted = client.get("/query", params={"query": "sum(max by (status, code) (thinkqueue_jobs_ended_total))"})
        assert counted.json()["data"]["result"][0]["value"][1] in ("1", "2", "3")


@pytest.mark.usefixtures("prometheus_tools")
def test_alerts_fire_and_do_not_fire_as_their_tests_say() -> None:
    for command in (
        "check rules alerts.yml slo_alerts.yml",
        "check config --syntax-only prometheus.yml",
        "test rules alerts_test.yml scenarios_test.yml",
    ):
        done = subprocess.run(
            ["promtool", *command.split()], cwd=ROOT / "observe", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = yaml.safe_load((ROOT / "observe" / "alerts_test.yml").read_text("utf-8"))["tests"]
    seen = {(case["alertname"], bool(case["exp_alerts"])) for test in cases for case in test["alert_rule_test"]}
    # A scenario checks all firing alerts at a time, so that every other alert is checked to be silent.
    scenarios = (ROOT / "observe" / "scenarios_test.yml").read_text("utf-8")
    for name in set(re.findall(r'alertname="(\w+)"', scenarios)):
        seen |= {(name, True), (name, False)}
    assert seen == {(name, fires) for name in ALERT_NAMES for fires in (True, False)}


def test_the_rules_of_the_objectives_are_up_to_date() -> None:
    assert (ROOT / "observe" / "slo_alerts.yml").read_text("utf-8") == slo.page(), "run `make docs`"


def test_the_dashboard_file_is_up_to_date() -> None:
    stored = json.loads((ROOT / "observe" / "grafana" / "dashboards" / "thinkqueue.json").read_text("utf-8"))
    assert stored == dashboard(), "run `make docs`"


def test_each_panel_says_what_it_means_and_each_variable_is_used() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert all(panel["description"].endswith(".") for panel in panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for name in VARIABLES:
        assert any(f"${name}" in query for query in QUERIES), name
    assert not [query for query in QUERIES if "$" in with_values(query)], "a variable that does not exist"


def test_the_dashboard_begins_with_the_service_level_objectives() -> None:
    first, *_ = (panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row")
    assert first == "Service level objectives"
    for objective in slo.OBJECTIVES:
        assert any(slo.ratio(objective, "1h") in query for query in QUERIES), objective.name


def test_each_alert_has_its_section_in_the_runbook() -> None:
    sections = re.findall(r"^## (Thinkqueue\w+)", (ROOT / "docs" / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert sections == ALERT_NAMES
    assert [rule["annotations"]["runbook_url"] for rule in ALERTS] == [
        f"docs/runbook.md#{rule['alert'].lower()}" for rule in ALERTS
    ]
    assert {rule["annotations"]["dashboard"] for rule in ALERTS} == {f"/d/{dashboard()['uid']}"}
