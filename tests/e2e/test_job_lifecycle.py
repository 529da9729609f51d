"""A job from its submission to its signed webhook."""

import json
from http.server import BaseHTTPRequestHandler

import httpx
from standardwebhooks import Webhook

from engine.core.thinking import CHARACTER_GRACE
from testing.inputs.request_bodies import SHAPES_PNG, SHAPES_URL, image_part, question
from testing.processes.http_server import HttpServer
from testing.processes.service import Service

SAMPLING = {"temperature": 0.9, "top_p": 0.9, "top_k": 40, "seed": 11}


def test_a_job_with_images_ends_with_a_signed_webhook(service: Service, http_server: HttpServer) -> None:
    hook = http_server.answer("/hook")
    picture = http_server.answer("/picture.png", body=SHAPES_PNG)
    job_id = service.submit(
        messages=question(image_part(picture), "How many red circles?", image_part(SHAPES_URL)),
        thinking={"budget_tokens": 16},
        max_answer_tokens=16,
        sampling=SAMPLING,
        callback={"url": hook},
        metadata={"order": "A-17"},
    )
    job = service.wait_for_end(job_id)
    assert job["status"] == "completed", job
    assert job["output"]["answer"]
    assert job["usage"]["answer_tokens"] > 0
    assert job["metadata"] == {"order": "A-17"}
    assert [httpx.get(medium["url"], timeout=5).status_code for medium in job["media"]] == [200, 200]

    service.wait_until(lambda: [r for r in http_server.received if r.path == "/hook"], "the webhook")
    delivery = next(received for received in http_server.received if received.path == "/hook")
    event = Webhook(service.webhook_secret).verify(delivery.body, delivery.headers)
    assert event["type"] == "job.completed"
    assert delivery.headers["webhook-id"] == event["id"] == f"evt_{job_id}_completed"
    assert event["data"]["output"] == job["output"]
    for name in ("api", "prepare", "generate", "keeper"):
        log = service.log(name)
        assert "red circles" not in log, "prompts must not be logged"
        assert service.environment["WEBHOOK_SECRET"] not in log
        assert service.environment["S3_SECRET_KEY"] not in log


def test_every_budget_gives_an_answer(service: Service) -> None:
    jobs = {
        budget: service.submit(
            messages=question("How many?"), thinking={"budget_tokens": budget}, max_answer_tokens=8, sampling=SAMPLING
        )
        for budget in (0, 1, 40, -1)
    }
    for budget, job_id in jobs.items():
        job = service.wait_for_end(job_id)
        assert job["status"] == "completed", job
        assert job["usage"]["answer_tokens"] > 0
        if budget >= 0:
            assert job["usage"]["thinking_tokens"] <= budget + (CHARACTER_GRACE if budget else 0)


def test_a_total_limits_thinking_and_answer_together(service: Service) -> None:
    jobs = {total: service.submit(messages=question("How many?"), max_total_tokens=total) for total in (1, 20, 40)}
    for total, job_id in jobs.items():
        job = service.wait_for_end(job_id)
        assert job["status"] == "completed", job
        assert job["usage"]["answer_tokens"] >= 1
        assert job["usage"]["thinking_tokens"] + job["usage"]["answer_tokens"] <= total


def test_an_answer_ends_before_a_stop_string(service: Service) -> None:
    body = {
        "messages": question("How many?"),
        "thinking": {"budget_tokens": 0},
        "max_answer_tokens": 30,
        "sampling": SAMPLING,
    }
    plain = service.wait_for_end(service.submit(**body))
    assert plain["stop_string"] is None
    answer = plain["output"]["answer"]
    stop = answer[len(answer) // 2 :][:5]
    job = service.wait_for_end(service.submit(**body, stop=[stop]))
    assert (job["finish_reason"], job["stop_string"]) == ("stop", stop)
    assert job["output"]["answer"] == answer[: answer.index(stop)].rstrip()


def test_an_answer_is_valid_under_the_requested_schema(service: Service) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["color", "count"],
        "additionalProperties": False,
    }
    body = {"messages": question("How many?"), "thinking": {"budget_tokens": 8}, "sampling": SAMPLING}
    job_id = service.submit(**body, response_format={"type": "json_schema", "schema": schema})
    job = service.wait_for_end(job_id)
    assert (job["status"], job["finish_reason"]) == ("completed", "stop")
    answer = json.loads(job["output"]["answer"])
    assert answer["color"] in ("red", "blue")
    assert answer["count"] in range(100)


def test_a_bad_image_fails_its_job_with_a_code_and_a_webhook(service: Service, http_server: HttpServer) -> None:
    """The worker is not affected: it runs the next job."""
    hook = http_server.answer("/hook")
    cases = {
        "image_unsupported": http_server.answer("/a.svg", body=b"<svg/>"),
        "image_truncated": http_server.answer("/b.png", body=SHAPES_PNG[:600]),
        "url_status": http_server.url("/missing.png"),
        "url_forbidden": http_server.answer("/away.png", 302, location="http://10.0.0.1/x.png"),
        "url_too_large": http_server.answer("/big.png", body=b"\0" * (20 * 2**20 + 1)),
    }
    for code, url in cases.items():
        job_id = service.submit(messages=question("Look.", image_part(url)), callback={"url": hook})
        job = service.wait_for_end(job_id)
        assert (job["status"], job["error"]["code"]) == ("failed", code)
        assert "Image 1" in job["error"]["message"]
    service.wait_until(lambda: [r.path for r in http_server.received].count("/hook") == len(cases), "each webhook")
    fine = service.submit(messages=question("Look.", image_part(SHAPES_URL)), max_answer_tokens=4)
    assert service.wait_for_end(fine)["status"] == "completed"


def test_a_webhook_is_retried_with_the_same_id(service: Service, http_server: HttpServer) -> None:
    tries = 0

    def fail_twice(request: BaseHTTPRequestHandler) -> None:
        nonlocal tries
        tries += 1
        request.send_response(503 if tries < 3 else 204)
        request.end_headers()

    http_server.answers["/hook"] = fail_twice
    job_id = service.submit(
        messages=question("Hi."),
        thinking={"budget_tokens": 0},
        max_answer_tokens=2,
        callback={"url": http_server.url("/hook")},
    )
    delivery = service.wait_for_delivery(job_id)
    assert delivery["state"] == "delivered"
    assert tries == len(delivery["attempts"]) == 3
    assert {received.headers["webhook-id"] for received in http_server.received} == {f"evt_{job_id}_completed"}
