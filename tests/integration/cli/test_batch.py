"""A batch and a service that is away for a while, or full."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import client
from cli.client.batch_input import read_lines
from cli.client.client import Client
from cli.commands import batch
from cli.commands.batch import Work
from jobs.table.scripts import connect
from testing.service import Service

SHORT = {"thinking": {"budget_tokens": 0}, "max_answer_tokens": 1}


@pytest.fixture
def serving(isolated_service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Asked once a call, and twice a second."""
    monkeypatch.setattr(client, "TRIES", 1)
    monkeypatch.setattr(batch, "PAUSE_S", 0.5)
    isolated_service.start("api", "prepare", "generate", "keeper")
    isolated_service.wait_for_workers(prepare=2, generate=1, keeper=1)
    return isolated_service


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    made: list[Client] = []
    yield made
    for one in made:
        one._http.close()


def work(clients: list[Client], service: Service, folder: Path, count: int, *, timeout_s: float) -> Work:
    clients.append(Client(service.url))
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say {n}."}) + "\n" for n in range(count)), "utf-8")
    lines = read_lines(prompts, dict(SHORT), "")
    return Work(clients[-1], lines, folder, timeout_s=timeout_s)


def jobs(service: Service) -> list[dict[str, Any]]:
    return list(service.http.get("/v1/jobs", params={"limit": 100}).json()["data"])


def test_a_service_that_was_away_finds_the_batch_still_there(
    serving: Service, clients: list[Client], tmp_path: Path
) -> None:
    going = work(clients, serving, tmp_path, 40, timeout_s=60)
    going.start(4)
    for _ in range(5):
        assert going.done.get(timeout=30).is_good
    serving.kill("api")
    serving.wait_until(lambda: going.waits_for == "no answer", "a batch that waits")
    serving.start("api")
    for _ in range(35):
        assert going.done.get(timeout=60).is_good
    assert going.waits_for == ""
    assert len(jobs(serving)) == 40, "nothing twice"


def test_a_full_service_is_waited_for_as_long_as_patience_lasts(
    serving: Service, clients: list[Client], tmp_path: Path
) -> None:
    redis = connect(serving.table.settings)
    limit = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
    try:
        given_up = work(clients, serving, tmp_path, 1, timeout_s=1)
        given_up.start(1)
        stopped = given_up.done.get(timeout=30)
        assert "queue_full" in stopped.stop
        going = work(clients, serving, tmp_path, 3, timeout_s=60)
        going.start(3)
        serving.wait_until(lambda: going.waits_for == "queue_full", "a batch that waits")
    finally:
        redis.config_set("maxmemory", limit)
    assert all(going.done.get(timeout=60).is_good for _ in range(3))


def test_a_service_that_was_never_there_is_not_waited_for(
    isolated_service: Service, clients: list[Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TRIES", 1)
    lost = work(clients, isolated_service, tmp_path, 2, timeout_s=600)
    lost.start(2)
    assert "does not answer" in lost.done.get(timeout=30).stop
