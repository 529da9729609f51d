"""Limits of time that a client sets: until when its job must have started, and for how long it may run."""

import json

from testing.http_server import HttpServer
from testing.service import Service, question

ENDLESS = {
    "messages": question("Describe everything."),
    "thinking": {"budget_tokens": -1},
    "sampling": {"temperature": 1.0, "seed": 3},
}


def test_what_no_worker_starts_in_time_expires_and_is_told_of(bare_service: Service, http_server: HttpServer) -> None:
    bare_service.start("api", "prepare", "keeper")
    bare_service.await_workers(prepare=2, keeper=1)
    hook = {"url": http_server.answer("/hook"), "events": ["job.expired"]}
    job_id = bare_service.post(**ENDLESS, expires_in=1, callback=hook)
    job = bare_service.await_end(job_id, limit_s=20)
    assert (job["status"], job["error"]["code"], job["output"]) == ("expired", "expired", None)
    bare_service.wait(lambda: http_server.received, "webhook")
    assert json.loads(http_server.received[0].body)["type"] == "job.expired"
    # Nobody runs it any more.
    bare_service.start("generate")
    bare_service.await_workers(generate=1)
    follower = bare_service.post(messages=question("Hi."), thinking={"budget_tokens": 0}, max_answer_tokens=2)
    assert bare_service.await_end(follower)["status"] == "completed"
    assert bare_service.job(job_id)["attempt"] == job["attempt"]


def test_the_time_to_run_counts_from_the_first_start_and_keeps_what_a_lost_worker_made(bare_service: Service) -> None:
    bare_service.start("api", "prepare", "generate", "keeper")
    bare_service.await_workers(prepare=2, generate=1, keeper=1)
    job_id = bare_service.post(**ENDLESS, max_run_seconds=5)
    made = bare_service.wait(lambda: bare_service.job(job_id)["tokens"], "tokens")
    bare_service.kill("generate")
    bare_service.start("generate2")
    job = bare_service.await_end(job_id)
    assert (job["status"], job["error"]["code"], job["attempt"]) == ("failed", "run_time_exceeded", 2)
    assert job["output"]["thinking"]
    assert job["usage"]["thinking_tokens"] == job["tokens"] >= made
