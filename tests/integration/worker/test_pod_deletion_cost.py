"""Pod deletion costs are reported to an HTTP server that stands in for Kubernetes."""

import json
import os
import subprocess
import sys

import httpx
import pytest

from jobs.table.reports.stats import WorkerStats
from testing.processes.http_server import HttpServer
from worker.pod_deletion_cost import ANNOTATION, PodDeletionCosts

PATH = "/api/v1/namespaces/ours/pods/"


def worker(pod: str, *, slots: int, free: int) -> WorkerStats:
    return WorkerStats(f"{pod}:7:a1b2c3", "generate", "ready", slots, free, {})


def test_cost_is_the_number_of_jobs_and_only_changes_are_reported(http_server: HttpServer) -> None:
    for pod in ("gpu-a", "gpu-b"):
        http_server.answer(PATH + pod)
    costs = PodDeletionCosts(httpx.Client(base_url=http_server.url("")), "ours", lambda: "token-1")
    costs.report([worker("gpu-a", slots=8, free=3), worker("gpu-b", slots=8, free=8), worker("gone", slots=8, free=8)])
    costs.report([worker("gpu-a", slots=8, free=3), worker("gpu-b", slots=8, free=7)])
    reported = [(one.path.removeprefix(PATH), json.loads(one.body)) for one in http_server.received]
    assert [(pod, body["metadata"]["annotations"][ANNOTATION]) for pod, body in reported] == [
        ("gpu-a", "5"),
        ("gpu-b", "0"),
        ("gone", "0"),
        ("gpu-b", "1"),
    ]
    headers = {name.lower(): value for name, value in http_server.received[0].headers.items()}
    assert headers["content-type"] == "application/merge-patch+json"
    assert headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    ("host", "expected"), [("", "KUBERNETES_SERVICE_HOST"), ("10.0.0.1", "automountServiceAccountToken")]
)
def test_outside_of_a_cluster_the_error_names_what_is_missing(host: str, expected: str) -> None:
    environment = {**os.environ, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    ended = subprocess.run(
        [sys.executable, "-m", "worker.pod_deletion_cost"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
