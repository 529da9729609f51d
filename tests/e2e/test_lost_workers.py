"""Workers that die, freeze, leave or never come up, by real processes: no job notices."""

import base64
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.model.job import JobStatus
from testing.http_server import HttpServer
from testing.request_bodies import FAR_FROM_TIES, image_part, question
from testing.service import Service

PICTURE = (Path(__file__).parents[2] / "cli" / "commands" / "shapes.png").read_bytes()
DATA_URL = "data:image/png;base64," + base64.b64encode(PICTURE).decode()


LONG: dict[str, Any] = {
    "messages": question("Describe the picture.", image_part(DATA_URL)),
    "thinking": {"budget_tokens": 1_500},
    "max_answer_tokens": 64,
    "sampling": {**FAR_FROM_TIES, "repetition_penalty": 1.1, "seed": 8},
}
"""Some seconds: over 1,000 tokens of thinking. float32 and a seed: always the same."""


def long_job(service: Service, **more: object) -> str:
    return service.submit(**LONG, **more)


@pytest.fixture(scope="module")
def undisturbed(service: Service) -> dict[str, Any]:
    job = service.wait_for_end(long_job(service))
    assert job["tokens"] > 1_000, "too short to be disturbed: choose another seed"
    return job


@pytest.fixture
def ready_service(isolated_service: Service) -> Service:
    """One of each process, ready, to be harmed."""
    isolated_service.start("api", "prepare", "generate", "keeper")
    isolated_service.wait_for_workers(prepare=2, generate=1, keeper=1)
    return isolated_service


def await_tokens(service: Service, job_id: str, count: int) -> None:
    service.wait_until(lambda: service.job(job_id)["tokens"] >= count, f"{count} tokens of {job_id}")


def streamed_tokens(service: Service, job_id: str) -> int:
    events = service.table.store.events(job_id)
    return sum(len(event.data["ids"]) for event in events if event.type == "tokens")


def test_a_dead_and_a_frozen_worker_change_nothing(
    ready_service: Service, undisturbed: dict[str, Any], http_server: HttpServer
) -> None:
    """One of two dies, the other stops past its lease and thaws; a third one goes on with both jobs."""
    ready_service.start("generate2")
    ready_service.wait_for_workers(generate=2)
    # Each has one of the two: the other one stands still when a job is handed in.
    ready_service.suspend("generate2")
    ids = [long_job(ready_service, callback={"url": http_server.answer("/a")})]
    await_tokens(ready_service, ids[0], 60)
    ready_service.suspend("generate")
    ready_service.resume("generate2")
    ids.append(long_job(ready_service, callback={"url": http_server.answer("/b")}))
    await_tokens(ready_service, ids[1], 60)
    ready_service.kill("generate")
    ready_service.suspend("generate2")
    ready_service.start("generate3")
    for job_id in ids:
        job = ready_service.wait_for_end(job_id, limit_s=90)
        assert job["status"] == "completed"
        assert job["attempt"] == 2
        assert job["output"] == undisturbed["output"]
        assert job["usage"]["thinking_tokens"] == undisturbed["usage"]["thinking_tokens"]
        assert streamed_tokens(ready_service, job_id) == undisturbed["tokens"], "its stream neither repeats nor skips"
    assert '"event": "job.requeued"' in ready_service.log("keeper")
    resumed = [json.loads(line) for line in ready_service.log("generate3").splitlines() if '"job.started"' in line]
    assert all(line["resumed_tokens"] >= 60 for line in resumed)

    before = [ready_service.table.store.events(job_id) for job_id in ids]
    ready_service.resume("generate2")
    ready_service.wait_until(
        lambda: "job.claim_lost" in ready_service.log("generate2"), "the notice of the resumed worker"
    )
    assert [ready_service.table.store.events(job_id) for job_id in ids] == before
    assert [ready_service.job(job_id)["output"] for job_id in ids] == [undisturbed["output"]] * 2
    ready_service.wait_until(lambda: len(http_server.received) >= 2, "webhook of each")
    time.sleep(0.5)
    assert sorted(received.path for received in http_server.received) == ["/a", "/b"]


def test_two_generate_workers_end_each_job_once_and_drain(ready_service: Service, http_server: HttpServer) -> None:
    ready_service.start("generate2")
    ready_service.wait_for_workers(generate=2)
    hook = http_server.answer("/hook")
    asked = {"thinking": {"budget_tokens": 8}, "max_answer_tokens": 8, "callback": {"url": hook}}
    ids = [ready_service.submit(messages=question(f"Number {number}?"), **asked) for number in range(12)]
    for job_id in ids:
        assert ready_service.wait_for_end(job_id)["status"] == "completed"
        kinds = [event.type for event in ready_service.table.store.events(job_id)]
        assert kinds.count("started") == kinds.count("ended") == 1
    ready_service.wait_until(lambda: len(http_server.received) >= len(ids), "webhook of each")
    time.sleep(0.5)
    told = [json.loads(received.body)["data"]["id"] for received in http_server.received]
    assert sorted(told) == sorted(ids)

    # TERM: a job ends within the grace or is handed back, as the machine goes; no loss is counted in either.
    job_id = long_job(ready_service)
    await_tokens(ready_service, job_id, 20)
    for name in ("generate", "generate2"):
        ready_service.processes[name].send_signal(signal.SIGTERM)
    assert [ready_service.processes.pop(name).wait(40) for name in ("generate", "generate2")] == [0, 0]
    record = ready_service.table.store.get(job_id)
    assert record is not None
    assert record.lost_leases == 0
    assert record.status in (JobStatus.COMPLETED, JobStatus.QUEUED)
    ready_service.start("generate3")
    assert ready_service.wait_for_end(job_id, limit_s=60)["status"] == "completed"


def test_a_model_that_cannot_be_loaded_ends_the_worker_and_leaves_the_job(isolated_service: Service) -> None:
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.start("generate", MODEL="/nowhere/model")
    isolated_service.wait_for_workers(prepare=1)
    job_id = isolated_service.submit(messages=question("Hi."), thinking={"budget_tokens": 0}, max_answer_tokens=2)
    assert isolated_service.processes["generate"].wait(60) != 0
    assert "/nowhere/model" in isolated_service.log("generate")
    assert isolated_service.job(job_id)["status"] == "queued"
    isolated_service.start("generate2")
    assert isolated_service.wait_for_end(job_id)["status"] == "completed"
