"""The dashboard's and the alerts' queries, asked of a real Prometheus that watches the real service."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from observe.dashboard import dashboard
from testing.request_bodies import question
from testing.servers import free_ports, stop
from testing.service import Service
from tests.e2e.test_probes_and_metrics import Watched

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "observe" / "alerts.yml").read_text("utf-8"))
ALERTS: list[dict[str, Any]] = RULES["groups"][0]["rules"]
QUERIES = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
EVERY_QUERY = [*QUERIES, *(rule["expr"] for rule in ALERTS)]
NEED_A_GPU = {"thinkqueue_gpu_memory_bytes"}
NAME = re.compile(r"thinkqueue_\w+")


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


@pytest.mark.usefixtures("prometheus_tools")
def test_each_query_names_what_is_exposed_and_is_understood(isolated_service: Service, tmp_path: Path) -> None:
    watched = Watched(isolated_service)
    watched.start(*watched.ports)
    service = isolated_service
    service.wait_for_workers(prepare=2, generate=1, keeper=1)
    with prometheus(tmp_path, list(watched.ports.values())) as ask:
        for budget in (0, 6):
            job_id = service.submit(messages=question("Hi."), thinking={"budget_tokens": budget}, max_answer_tokens=3)
            service.wait_for_end(job_id)
        service.http.post("/v1/jobs", json={})

        named = {name for query in EVERY_QUERY for name in NAME.findall(query)} - NEED_A_GPU

        def missing() -> set[str]:
            """Of what the queries name."""
            try:
                return named - set(ask.get("/label/__name__/values").json()["data"])
            except httpx.HTTPError:
                return named

        give_up = time.monotonic() + 60
        while missing() and time.monotonic() < give_up:
            time.sleep(0.5)
        assert not missing()
        for query in EVERY_QUERY:
            reply = ask.get("/query", params={"query": query.replace("$__rate_interval", "30s")})
            assert reply.json()["status"] == "success", reply.text
        counted = ask.get("/query", params={"query": "sum(max by (status, code) (thinkqueue_jobs_ended_total))"})
        assert counted.json()["data"]["result"][0]["value"][1] in ("1", "2")


@pytest.mark.usefixtures("prometheus_tools")
def test_alerts_fire_when_they_should_and_hold_when_they_should_not() -> None:
    for command in ("check rules alerts.yml", "test rules alerts_test.yml"):
        done = subprocess.run(
            ["promtool", *command.split()], cwd=ROOT / "observe", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_to_fire_and_to_hold() -> None:
    cases = yaml.safe_load((ROOT / "observe" / "alerts_test.yml").read_text("utf-8"))["tests"]
    seen = {(case["alertname"], bool(case["exp_alerts"])) for test in cases for case in test["alert_rule_test"]}
    assert seen == {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}


def test_the_dashboard_file_is_what_its_source_makes() -> None:
    stored = json.loads((ROOT / "observe" / "grafana" / "dashboards" / "thinkqueue.json").read_text("utf-8"))
    assert stored == dashboard(), "run `make docs`"


def test_each_alert_has_its_section_in_the_runbook() -> None:
    sections = re.findall(r"^## (Thinkqueue\w+)", (ROOT / "docs" / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert sections == [rule["alert"] for rule in ALERTS]
