"""The whole path by real processes: an image goes in, a signed webhook comes out."""

import base64
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
from standardwebhooks import Webhook

from engine.core.thinking import CHARACTER_GRACE
from testing.http_server import HttpServer
from testing.request_bodies import image_part, question
from testing.service import Service

PICTURE = (Path(__file__).parents[2] / "cli" / "commands" / "shapes.png").read_bytes()
DATA_URL = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
SAMPLING = {"temperature": 0.9, "top_p": 0.9, "top_k": 40, "seed": 11}


def test_an_image_goes_in_and_a_signed_webhook_comes_out(service: Service, http_server: HttpServer) -> None:
    hook = http_server.answer("/hook")
    picture = http_server.answer("/picture.png", body=PICTURE)
    job_id = service.submit(
        messages=question(image_part(picture), "How many red circles?", image_part(DATA_URL)),
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

    service.wait_until(lambda: [r for r in http_server.received if r.path == "/hook"], "webhook")
    delivery = next(received for received in http_server.received if received.path == "/hook")
    event = Webhook(service.environment["WEBHOOK_SECRET"]).verify(delivery.body, delivery.headers)
    assert event["type"] == "job.completed"
    assert delivery.headers["webhook-id"] == event["id"] == f"evt_{job_id}_completed"
    assert event["data"]["output"] == job["output"]
    for name in ("api", "prepare", "generate", "keeper"):
        log = service.log(name)
        assert "red circles" not in log, "prompts do not belong into logs"
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


def test_what_is_wrong_with_an_image_is_said_and_told(service: Service, http_server: HttpServer) -> None:
    """The picture, not the worker, is at fault: the job fails with a code, and the worker goes on."""
    hook = http_server.answer("/hook")
    cases = {
        "image_unsupported": http_server.answer("/a.svg", body=b"<svg/>"),
        "image_truncated": http_server.answer("/b.png", body=PICTURE[:600]),
        "url_status": http_server.url("/missing.png"),
        "url_forbidden": "http://10.0.0.1/x.png",
        "url_too_large": http_server.answer("/big.png", body=b"\0" * (20 * 2**20 + 1)),
    }
    for code, url in cases.items():
        job_id = service.submit(messages=question("Look.", image_part(url)), callback={"url": hook})
        job = service.wait_for_end(job_id)
        assert (job["status"], job["error"]["code"]) == ("failed", code)
        assert "Image 1" in job["error"]["message"]
    service.wait_until(lambda: sum(r.path == "/hook" for r in http_server.received) == len(cases), "webhook of each")
    fine = service.submit(messages=question("Look.", image_part(DATA_URL)), max_answer_tokens=4)
    assert service.wait_for_end(fine)["status"] == "completed"


def test_a_webhook_is_tried_again_under_the_same_id(service: Service, http_server: HttpServer) -> None:
    tries = 0

    def twice_busy(request: BaseHTTPRequestHandler) -> None:
        nonlocal tries
        tries += 1
        request.send_response(503 if tries < 3 else 204)
        request.end_headers()

    http_server.answers["/hook"] = twice_busy
    job_id = service.submit(
        messages=question("Hi."),
        thinking={"budget_tokens": 0},
        max_answer_tokens=2,
        callback={"url": http_server.url("/hook")},
    )
    service.wait_until(lambda: tries >= 3, "third try", 40)
    time.sleep(1)
    assert tries == 3
    assert {received.headers["webhook-id"] for received in http_server.received} == {f"evt_{job_id}_completed"}
