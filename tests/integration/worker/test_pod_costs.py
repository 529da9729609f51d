"""Deletion costs, told to a real HTTP server in the place of Kubernetes."""

import json
import os
import subprocess
import sys

import httpx
import pytest

from jobs.table.stats import WorkerStats
from testing.http_server import HttpServer
from worker.pod_deletion_cost import COST, PodCosts

PATH = "/api/v1/namespaces/ours/pods/"


def worker(pod: str, *, slots: int, free: int) -> WorkerStats:
    return WorkerStats(f"{pod}:7:a1b2c3", "generate", "ready", slots, free, {})


def test_busy_pods_cost_their_jobs_and_only_changes_are_told(http_server: HttpServer) -> None:
    for pod in ("gpu-a", "gpu-b"):
        http_server.answer(PATH + pod)
    costs = PodCosts(httpx.Client(base_url=http_server.url("")), "ours", lambda: "token-1")
    costs.tell([worker("gpu-a", slots=8, free=3), worker("gpu-b", slots=8, free=8), worker("gone", slots=8, free=8)])
    costs.tell([worker("gpu-a", slots=8, free=3), worker("gpu-b", slots=8, free=7)])
    told = [(one.path.removeprefix(PATH), json.loads(one.body)) for one in http_server.received]
    assert [(pod, body["metadata"]["annotations"][COST]) for pod, body in told] == [
        ("gpu-a", "5"),
        ("gpu-b", "0"),
        ("gone", "0"),
        ("gpu-b", "1"),
    ]
    headers = {name.lower(): value for name, value in http_server.received[0].headers.items()}
    assert headers["content-type"] == "application/merge-patch+json"
    assert headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    ("host", "told"), [("", "KUBERNETES_SERVICE_HOST"), ("10.0.0.1", "automountServiceAccountToken")]
)
def test_outside_of_a_cluster_it_says_what_is_missing(host: str, told: str) -> None:
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
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
