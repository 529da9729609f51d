"""A batch whose processes are killed on the way: every request is answered once, in the order of the input."""

import json
from typing import Any

import psutil
import pytest

from testing.processes.service import Service

CHAT = "/v1/chat/completions"
LINES = 1_000
LIMIT_S = 200.0


def line(number: int) -> str:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": f"Hello {number}."}],
        "reasoning_effort": "none",
        "max_completion_tokens": 16,
    }
    return json.dumps({"custom_id": f"request-{number}", "method": "POST", "url": CHAT, "body": body})


def create(service: Service) -> str:
    files = {"file": ("input.jsonl", "\n".join(map(line, range(LINES))).encode())}
    file = service.http.post("/v1/files", files=files, data={"purpose": "batch"}).raise_for_status().json()
    body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    return str(service.http.post("/v1/batches", json=body).raise_for_status().json()["id"])


def batch(service: Service, batch_id: str) -> dict[str, Any]:
    """Return a batch. A busy machine may answer 503, which clients repeat."""

    def read() -> dict[str, Any] | None:
        reply = service.http.get(f"/v1/batches/{batch_id}")
        return None if reply.status_code == 503 else dict(reply.raise_for_status().json())

    return service.wait_until(read, f"the state of {batch_id}")


def wait_for_answers(service: Service, batch_id: str, count: int) -> None:
    def has_answers() -> bool:
        found = batch(service, batch_id)
        assert found["request_counts"]["failed"] == 0
        return int(found["request_counts"]["completed"]) >= count

    service.wait_until(has_answers, f"{count} answers", LIMIT_S)


def kill_runner(service: Service) -> None:
    """Kill the process that runs batches; the api process starts it again."""
    (runner,) = (
        child
        for child in psutil.Process(service.processes["api"].pid).children()
        if child.cmdline()[-1:] == ["api.run_batches"]
    )
    runner.kill()


@pytest.mark.slow
def test_a_batch_survives_the_death_of_each_process(isolated_service: Service) -> None:
    service = isolated_service
    service.environment.update(BATCH_LEASE_S="2", MODEL_ALIASES="m")
    service.start_all()
    batch_id = create(service)
    wait_for_answers(service, batch_id, 100)
    kill_runner(service)
    wait_for_answers(service, batch_id, 400)
    for name in ("api", "keeper", "generate", "prepare"):
        service.kill(name)
    service.start("api", "keeper", "generate", "prepare")
    service.wait_for_workers(prepare=1, generate=1, keeper=1)
    service.wait_until(lambda: batch(service, batch_id)["status"] == "completed", "the batch is completed", LIMIT_S)
    found = batch(service, batch_id)
    assert found["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    assert found["error_file_id"] is None
    output = service.http.get(f"/v1/files/{found['output_file_id']}/content").text.splitlines()
    answers = [json.loads(text) for text in output]
    assert [one["custom_id"] for one in answers] == [f"request-{number}" for number in range(LINES)]
    assert all(one["response"]["body"]["choices"][0]["message"]["content"] for one in answers)
    usage = service.http.get("/v1/usage").raise_for_status().json()
    assert sum(day["jobs"].get("completed", 0) for day in usage["data"]) == LINES, "nothing ran twice"
