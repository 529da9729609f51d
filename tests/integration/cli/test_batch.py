"""A batch while the service is unreachable or full."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client.api_client import ApiClient
from cli.client.batch_input import read_lines
from cli.client.batch_runner import BatchRunner
from jobs.table.scripts import connect
from testing.processes.service import Service

SHORT = {"thinking": {"budget_tokens": 0}, "max_answer_tokens": 1}


@pytest.fixture
def serving(isolated_service: Service) -> Service:
    """A running service."""
    isolated_service.start("api", "prepare", "generate", "keeper")
    isolated_service.wait_for_workers(prepare=1, generate=1, keeper=1)
    return isolated_service


@pytest.fixture
def clients() -> Iterator[list[ApiClient]]:
    created: list[ApiClient] = []
    yield created
    for client in created:
        client.close()


def new_runner(
    clients: list[ApiClient], service: Service, folder: Path, count: int, *, timeout_s: float
) -> BatchRunner:
    """Return a runner whose client makes one attempt a call, two a second."""
    clients.append(ApiClient(service.url, attempts=1))
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say {n}."}) + "\n" for n in range(count)), "utf-8")
    lines = read_lines(prompts, dict(SHORT), "")
    return BatchRunner(clients[-1], lines, folder, timeout_s=timeout_s, retry_interval_s=0.5)


def jobs(service: Service) -> list[dict[str, Any]]:
    return list(service.http.get("/v1/jobs", params={"limit": 100}).json()["data"])


def test_a_batch_waits_for_a_service_that_was_killed(
    serving: Service, clients: list[ApiClient], tmp_path: Path
) -> None:
    runner = new_runner(clients, serving, tmp_path, 40, timeout_s=60)
    runner.start(4)
    for _ in range(5):
        assert runner.results.get(timeout=30).is_completed
    serving.kill("api")
    serving.wait_until(lambda: runner.waiting_for == "no answer", "a batch that waits")
    serving.start("api")
    for _ in range(35):
        assert runner.results.get(timeout=60).is_completed
    assert runner.waiting_for == ""
    assert len(jobs(serving)) == 40, "no job is submitted twice"


def test_a_batch_waits_for_a_full_service_until_its_timeout(
    serving: Service, clients: list[ApiClient], tmp_path: Path
) -> None:
    redis = connect(serving.table.settings)
    limit = int(redis.config_get("maxmemory")["maxmemory"] or 0)
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
    try:
        short = new_runner(clients, serving, tmp_path, 1, timeout_s=1)
        short.start(1)
        stopped = short.results.get(timeout=30)
        assert "queue_full" in stopped.abort_reason
        runner = new_runner(clients, serving, tmp_path, 3, timeout_s=60)
        runner.start(3)
        serving.wait_until(lambda: runner.waiting_for == "queue_full", "a batch that waits")
    finally:
        redis.config_set("maxmemory", limit)
    assert all(runner.results.get(timeout=60).is_completed for _ in range(3))


def test_a_batch_waits_for_a_service_that_has_not_started_yet(
    serving: Service, clients: list[ApiClient], tmp_path: Path
) -> None:
    serving.kill("api")
    runner = new_runner(clients, serving, tmp_path, 2, timeout_s=60)
    runner.start(2)
    serving.wait_until(lambda: runner.waiting_for == "no answer", "a batch that waits")
    serving.start("api")
    assert all(runner.results.get(timeout=60).is_completed for _ in range(2))


def test_a_batch_stops_waiting_for_a_service_that_never_answers(clients: list[ApiClient], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Hi."}\n', "utf-8")
    clients.append(ApiClient("http://127.0.0.1:9"))
    runner = BatchRunner(clients[-1], read_lines(prompts, {}, ""), tmp_path, timeout_s=0)
    runner.start(1)
    assert "does not answer" in runner.results.get(timeout=30).abort_reason
