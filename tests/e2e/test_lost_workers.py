"""Workers that are killed, suspended, drained or cannot start: their jobs end as they would have without that."""

import json
from typing import Any

import pytest

from jobs.model.job import JobStatus
from testing.inputs.request_bodies import LONG_JOB, question
from testing.processes.http_server import HttpServer
from testing.processes.service import Service


@pytest.fixture(scope="module")
def undisturbed(service: Service) -> dict[str, Any]:
    job = service.wait_for_end(service.submit(**LONG_JOB), limit_s=120)
    assert job["tokens"] > 1_000, "the job is too short to be disturbed: choose another seed"
    return job


@pytest.fixture
def ready_service(isolated_service: Service) -> Service:
    """One process of each kind, with the default lease: a short one could expire before a test has suspended both."""
    del isolated_service.environment["LEASE_S"], isolated_service.environment["HEARTBEAT_S"]
    isolated_service.start_all()
    return isolated_service


def wait_for_tokens(service: Service, job_id: str, count: int) -> None:
    service.wait_until(lambda: service.job(job_id)["tokens"] >= count, f"{count} tokens of {job_id}")


def streamed_tokens(service: Service, job_id: str) -> int:
    events = service.table.store.events(job_id)
    return sum(len(event.data["ids"]) for event in events if event.type == "tokens")


@pytest.mark.slow
def test_a_killed_and_a_suspended_worker_change_no_result(
    ready_service: Service, undisturbed: dict[str, Any], http_server: HttpServer
) -> None:
    """One of two workers is killed, the other is suspended past its lease; a third one resumes both jobs."""
    ready_service.start("generate2")
    ready_service.wait_for_workers(generate=2)
    # Each gets one of the two jobs: the other one is suspended when a job is submitted.
    ready_service.suspend("generate2")
    ids = [ready_service.submit(**LONG_JOB, callback={"url": http_server.answer("/a")})]
    wait_for_tokens(ready_service, ids[0], 60)
    ready_service.suspend("generate")
    ready_service.resume("generate2")
    ids.append(ready_service.submit(**LONG_JOB, callback={"url": http_server.answer("/b")}))
    wait_for_tokens(ready_service, ids[1], 60)
    ready_service.kill("generate")
    ready_service.suspend("generate2")
    ready_service.start("generate3")
    for job_id in ids:
        job = ready_service.wait_for_end(job_id, limit_s=120)
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
    ready_service.wait_until(lambda: "job.claim_lost" in ready_service.log("generate2"), "job.claim_lost")
    assert [ready_service.table.store.events(job_id) for job_id in ids] == before
    assert [ready_service.job(job_id)["output"] for job_id in ids] == [undisturbed["output"]] * 2
    assert {ready_service.wait_for_delivery(job_id)["state"] for job_id in ids} == {"delivered"}
    assert sorted(received.path for received in http_server.received) == ["/a", "/b"]


@pytest.mark.slow
def test_two_generate_workers_end_each_job_once_and_drain(ready_service: Service, http_server: HttpServer) -> None:
    ready_service.start("generate2")
    ready_service.wait_for_workers(generate=2)
    hook = http_server.answer("/hook")
    options = {"thinking": {"budget_tokens": 8}, "max_answer_tokens": 8, "callback": {"url": hook}}
    ids = [ready_service.submit(messages=question(f"Number {number}?"), **options) for number in range(12)]
    for job_id in ids:
        assert ready_service.wait_for_end(job_id)["status"] == "completed"
        kinds = [event.type for event in ready_service.table.store.events(job_id)]
        assert kinds.count("started") == kinds.count("ended") == 1
    assert {ready_service.wait_for_delivery(job_id)["state"] for job_id in ids} == {"delivered"}
    assert sorted(json.loads(received.body)["data"]["id"] for received in http_server.received) == sorted(ids)

    # After SIGTERM a job ends within the grace or is released, depending on the machine; neither is a lost lease.
    job_id = ready_service.submit(**LONG_JOB)
    wait_for_tokens(ready_service, job_id, 20)
    assert ready_service.drain("generate", "generate2") == [0, 0]
    record = ready_service.table.store.get(job_id)
    assert record is not None
    assert record.lost_leases == 0
    assert record.status in (JobStatus.COMPLETED, JobStatus.QUEUED)
    ready_service.start("generate3")
    assert ready_service.wait_for_end(job_id, limit_s=120)["status"] == "completed"


def test_a_model_that_cannot_be_loaded_ends_the_worker_and_keeps_the_job(isolated_service: Service) -> None:
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.start("generate", MODEL="/nowhere/model")
    isolated_service.wait_for_workers(prepare=1)
    job_id = isolated_service.submit(messages=question("Hi."), thinking={"budget_tokens": 0}, max_answer_tokens=2)
    assert isolated_service.processes["generate"].wait(120) != 0
    assert "/nowhere/model" in isolated_service.log("generate")
    isolated_service.wait_until(lambda: isolated_service.job(job_id)["status"] == "queued", "a prepared job")
    isolated_service.start("generate2")
    assert isolated_service.wait_for_end(job_id)["status"] == "completed"
