"""Time limits that a client sets: when its job must have started, and how long it may run."""

import json

from testing.inputs.request_bodies import ENDLESS_JOB, question
from testing.processes.http_server import HttpServer
from testing.processes.service import Service


def test_a_job_that_no_worker_starts_in_time_expires(isolated_service: Service, http_server: HttpServer) -> None:
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=1, keeper=1)
    hook = {"url": http_server.answer("/hook"), "events": ["job.expired"]}
    job_id = isolated_service.submit(**ENDLESS_JOB, expires_in=1, callback=hook)
    job = isolated_service.wait_for_end(job_id)
    assert (job["status"], job["error"]["code"], job["output"]) == ("expired", "expired", None)
    isolated_service.wait_until(lambda: http_server.received, "the webhook")
    assert json.loads(http_server.received[0].body)["type"] == "job.expired"
    # A worker that starts later does not run it.
    isolated_service.start("generate")
    isolated_service.wait_for_workers(generate=1)
    next_id = isolated_service.submit(messages=question("Hi."), thinking={"budget_tokens": 0}, max_answer_tokens=2)
    assert isolated_service.wait_for_end(next_id)["status"] == "completed"
    assert isolated_service.job(job_id)["attempt"] == job["attempt"]


def test_run_time_counts_from_the_first_start_and_keeps_the_output_of_a_lost_worker(isolated_service: Service) -> None:
    isolated_service.start_all()
    job_id = isolated_service.submit(**ENDLESS_JOB, max_run_seconds=5)
    generated = isolated_service.wait_until(lambda: isolated_service.job(job_id)["tokens"], "tokens")
    isolated_service.kill("generate")
    isolated_service.start("generate2")
    job = isolated_service.wait_for_end(job_id)
    assert (job["status"], job["error"]["code"], job["attempt"]) == ("failed", "run_time_exceeded", 2)
    assert job["output"]["thinking"]
    assert job["usage"]["thinking_tokens"] == job["tokens"] >= generated
