"""``thinkqueue status`` and ``drain``."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from cli.main import app
from jobs.model.job import Stage
from jobs.table.types import WorkerStatus
from testing.api import HELLO
from testing.processes.servers import Servers
from testing.table import Table, completed


class Terminal:
    def __init__(self, environment: dict[str, str], state: Path) -> None:
        self._environment = environment
        self._state = str(state)

    def __call__(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--state", self._state], env=self._environment)
        assert result.exit_code == code, result.output
        return result.output


@pytest.fixture
def operator(table: Table, servers: Servers, tmp_path: Path) -> Terminal:
    secret = table.settings.webhook_secret.get_secret_value()
    return Terminal({**servers.environment(), "WEBHOOK_SECRET": secret, "COLUMNS": "80"}, tmp_path)


def test_status_shows_queues_and_workers(operator: Terminal, table: Table) -> None:
    table.queued("job_a", priority="high")
    table.store.heartbeat(WorkerStatus("w1", "generate", "starting", 8, 8), {})
    queue, workers = (row.split() for row in operator("status", "--once").splitlines() if row.startswith("generate"))
    assert queue[:5] == ["generate", "1", "1", "0", "0"]
    assert workers == ["generate", "0", "1", "0", "0/0", "1", "backlog"]
    document = json.loads(operator("status", "--json"))
    assert document["stages"]["generate"]["waiting"] == {"high": 1, "default": 0, "low": 0}
    assert document["stages"]["generate"]["workers"]["starting"] == 1
    assert document["intake"] == "open"


def test_drain_refuses_new_jobs_and_waits_for_others(operator: Terminal, table: Table, client: TestClient) -> None:
    kept = client.post("/v1/jobs", json=HELLO, headers={"Idempotency-Key": "k"}).json()["id"]
    assert "1 jobs" in operator("drain", "--timeout", "0.1", code=1)
    refused = client.post("/v1/jobs", json=HELLO)
    assert (refused.status_code, refused.json()["code"]) == (503, "intake_closed")
    assert int(refused.headers["retry-after"]) <= 60
    again = client.post("/v1/jobs", json=HELLO, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == kept, "an accepted job stays accepted"

    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    table.finalizer.finalize(completed(claimed.job), expect="owner")
    table.store.mark_archived(kept)
    assert "it can be stopped" in operator("drain")
    assert "paused" in operator("status", "--once")
    operator("drain", "--resume")
    assert client.post("/v1/jobs", json=HELLO).status_code == 202


def test_without_settings_thinkqueue_up_is_recommended(tmp_path: Path) -> None:
    assert "thinkqueue up" in Terminal(dict.fromkeys(("REDIS_URL", "S3_ENDPOINT"), ""), tmp_path)("status", code=1)


def test_a_redis_that_does_not_answer_is_named(tmp_path: Path, servers: Servers) -> None:
    environment = {**servers.environment(), "REDIS_URL": "redis://127.0.0.1:9/0"}
    assert "Redis at 127.0.0.1:9/0 does not answer" in Terminal(environment, tmp_path)("status", code=1)
