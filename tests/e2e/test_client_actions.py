"""What a client does while its job runs: stream events, wait, cancel, limit the run time."""

import base64
import json

import httpx

from jobs.model.times import parse_time
from testing.api import inline_picture
from testing.inputs.request_bodies import ENDLESS_JOB, image_part, question
from testing.processes.http_server import HttpServer
from testing.processes.service import Service
from testing.sse import events_of, read_stream


def test_the_stream_has_the_text_of_the_result(service: Service) -> None:
    job_id = service.submit(
        messages=question("What is it?", image_part(inline_picture())),
        thinking={"budget_tokens": 40},
        max_answer_tokens=24,
        sampling={"temperature": 0.9, "top_k": 40, "seed": 3},
    )
    events = read_stream(service.http, job_id)
    job = service.job(job_id)
    assert events[-1].event == "job.completed"
    thinking = "".join(event.data["text"] for event in events if event.event == "thinking.delta")
    answer = "".join(event.data["text"] for event in events if event.event == "answer.delta")
    assert (thinking.strip(), answer.strip()) == (job["output"]["thinking"], job["output"]["answer"])
    used = [event.data["thinking_tokens"] for event in events if event.event == "thinking.delta"]
    assert used == sorted(used)
    assert used[-1] == job["usage"]["thinking_tokens"]
    rest = read_stream(service.http, job_id, last_event_id=events[-2].id)
    assert [event.event for event in rest] == ["job.completed"]


def test_a_cancelled_job_stops_between_two_tokens_and_keeps_its_output(
    service: Service, http_server: HttpServer
) -> None:
    hook = http_server.answer("/hook")
    job_id = service.submit(**ENDLESS_JOB, callback={"url": hook, "events": ["job.cancelled"]})
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        events = events_of(reply)
        while next(events).event != "thinking.delta":
            pass
        assert service.http.post(f"/v1/jobs/{job_id}/cancel").json()["status"] in ("running", "cancelled")
        assert list(events)[-1].event == "job.cancelled"
    job = service.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("cancelled", "cancelled")
    assert job["output"]["thinking"]
    assert job["usage"]["thinking_tokens"] == job["tokens"] > 0
    service.wait_until(lambda: http_server.received, "the webhook")
    assert json.loads(http_server.received[0].body)["type"] == "job.cancelled"
    # The engine runs the next job.
    next_id = service.submit(messages=question("Hi."), thinking={"budget_tokens": 0}, max_answer_tokens=2)
    assert service.wait_for_end(next_id)["status"] == "completed"


def test_a_job_past_its_run_time_fails_and_keeps_its_output(service: Service) -> None:
    job = service.wait_for_end(service.submit(**ENDLESS_JOB, max_run_seconds=1))
    assert (job["status"], job["error"]["code"]) == ("failed", "run_time_exceeded")
    assert job["output"]["thinking"]
    ran = parse_time(job["ended_at"]) - parse_time(job["started_at"])
    assert 0 < job["usage"]["gpu_seconds"] <= ran.total_seconds() + 0.1, "clocks of two processes"


def test_a_client_waits_for_the_end_of_its_job(service: Service) -> None:
    short = {"messages": question("Hi."), "thinking": {"budget_tokens": 0}, "max_answer_tokens": 2}
    reply = service.http.post("/v1/jobs", json=short, headers={"Prefer": "wait=60"})
    assert (reply.status_code, reply.json()["status"]) == (200, "completed")
    assert reply.headers["preference-applied"] == "wait=60"

    reply = service.http.post("/v1/jobs", json=ENDLESS_JOB, headers={"Prefer": "wait=1, respond-async"})
    assert reply.status_code == 202
    assert reply.json()["status"] in ("preparing", "queued", "running")
    service.http.post(f"/v1/jobs/{reply.json()['id']}/cancel")
    assert service.wait_for_end(reply.json()["id"])["status"] == "cancelled"


def test_an_uploaded_picture_is_used(service: Service) -> None:
    picture = base64.b64decode(inline_picture().partition(",")[2])
    upload = service.http.post("/v1/uploads", json={"bytes": len(picture)}).json()

    assert httpx.put(upload["url"], content=picture + b"x", timeout=5).status_code == 403
    assert httpx.put(upload["url"], content=picture, timeout=5).status_code == 200
    job_id = service.submit(
        messages=question("What?", image_part(f"upload:{upload['id']}")),
        thinking={"budget_tokens": 0},
        max_answer_tokens=2,
    )
    job = service.wait_for_end(job_id)
    assert job["status"] == "completed"
    assert httpx.get(job["media"][0]["url"], timeout=5).headers["content-type"] == "image/png"


def test_usage_counts_each_token_once(service: Service) -> None:
    def totals() -> tuple[int, int, int]:
        days = service.http.get("/v1/usage").json()["data"]
        jobs = sum(day["jobs"].get("completed", 0) for day in days)
        return jobs, sum(day["thinking_tokens"] for day in days), sum(day["answer_tokens"] for day in days)

    before = totals()
    job = service.wait_for_end(
        service.submit(messages=question("Hi."), thinking={"budget_tokens": 5}, max_answer_tokens=3)
    )
    used = job["usage"]
    after = totals()
    assert [new - old for new, old in zip(after, before, strict=True)] == [
        1,
        used["thinking_tokens"],
        used["answer_tokens"],
    ]


def test_a_conversation_continues_without_sending_its_picture_again(service: Service) -> None:
    asked = {"thinking": {"budget_tokens": 4}, "max_answer_tokens": 6, "sampling": {"seed": 5, "temperature": 0.5}}
    content = question("What?", image_part(inline_picture()))
    first = service.wait_for_end(service.submit(messages=content, **asked))
    second = service.wait_for_end(service.submit(messages=question("More?"), previous_job_id=first["id"], **asked))
    earlier = {"role": "assistant", "content": f"<think>no</think><answer>{first['output']['answer']}</answer>"}
    whole = service.wait_for_end(service.submit(messages=[*content, earlier, *question("More?")], **asked))
    assert second["status"] == whole["status"] == "completed"
    assert second["usage"]["input_tokens"] == whole["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    assert second["output"] == whole["output"]
