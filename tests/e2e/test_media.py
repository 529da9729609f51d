"""Every kind of media: what a client sends, what the model sees, what the client gets back."""

import base64
import hashlib
import io
import json
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from jobs.objects.client import ObjectNotFound
from testing.inputs.documents import deck, pdf
from testing.inputs.request_bodies import question
from testing.inputs.videos import clip
from testing.processes.http_server import HttpServer
from testing.processes.service import Service

SHORT = {"thinking": {"budget_tokens": 8}, "max_answer_tokens": 4}


def ended(service: Service, *parts: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    return service.wait_for_end(service.submit(messages=question(*parts), **{**SHORT, **more}))


def file_part(url: str, **more: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_url": url, **more}}


def video_part(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def picture(item: dict[str, Any]) -> Image.Image:
    reply = httpx.get(item["url"], timeout=30)
    assert reply.status_code == 200
    return Image.open(io.BytesIO(reply.content))


def test_the_requested_pages_are_seen(service: Service, http_server: HttpServer) -> None:
    url = http_server.answer("/report", body=pdf(9))
    job = ended(service, "Compare", file_part(url, pages="2,7-8"), "these pages.")
    assert job["status"] == "completed", job
    assert [(item["kind"], item["name"]) for item in job["media"]] == [
        ("page", "0-page-2.png"),
        ("page", "1-page-7.png"),
        ("page", "2-page-8.png"),
    ]
    assert picture(job["media"][1]).size[0] > 100


@pytest.mark.usefixtures("office")
def test_slides_are_seen(service: Service, http_server: HttpServer) -> None:
    job = ended(service, file_part(http_server.answer("/deck.bin", body=deck(2))), "What is it about?")
    assert job["status"] == "completed", job
    assert [item["kind"] for item in job["media"]] == ["page", "page"]


def test_a_video_is_seen_and_has_a_contact_sheet(service: Service, http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.answer("/clip", body=clip(tmp_path / "a.mp4").read_bytes())
    job = ended(service, video_part(url), "What moves?")
    assert job["status"] == "completed", job
    assert [(item["kind"], item["name"]) for item in job["media"]] == [("contact_sheet", "video-0.png")]
    assert picture(job["media"][0]).size == (4 * 240, 198)


def test_a_bad_file_fails_its_job_with_a_code_and_a_message(service: Service, http_server: HttpServer) -> None:
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "long": (file_part(http_server.answer("/long", body=pdf(10_000, color=False))), "document_too_long", "pages"),
        "page": (file_part(http_server.answer("/short", body=pdf(3)), pages="4"), "document_pages", "page 4 does"),
        "locked": (
            file_part(http_server.answer("/locked", body=pdf(1, encrypt=True))),
            "document_encrypted",
            "password",
        ),
        "film": (video_part(http_server.answer("/film.mp4", body=b"no film")), "video_unsupported", "Video 1"),
    }
    for part, code, says in cases.values():
        job = ended(service, part, "Look.")
        assert (job["status"], job["error"]["code"]) == ("failed", code), job
        assert says in job["error"]["message"]


def test_a_copy_of_the_result_is_put_to_each_result_url(service: Service, http_server: HttpServer) -> None:
    """Into a bucket of the client by a presigned URL, and to a server that fails once and gets it by a retry."""
    object_store = service.table.object_store
    link = object_store._public.presigned_put_object(
        object_store._bucket, "theirs/result.json", expires=timedelta(minutes=5)
    )
    tries = 0

    def fail_once(request: BaseHTTPRequestHandler) -> None:
        nonlocal tries
        tries += 1
        request.send_response(503 if tries == 1 else 200)
        request.end_headers()

    http_server.answers["/put"] = fail_once
    hook = http_server.answer("/hook")
    job_id = service.submit(
        messages=question("Hi."),
        metadata={"row": "7"},
        callback={"url": hook},
        result_urls=[link, http_server.url("/put") + "?X-Amz-Signature=secret"],
        **SHORT,
    )
    job = service.wait_for_end(job_id)

    def copied() -> bytes | None:
        with suppress(ObjectNotFound):
            return object_store.get("theirs/result.json")
        return None

    copy = service.wait_until(copied, "the copy of the result")
    assert hashlib.sha256(copy).hexdigest() == job["result_sha256"]
    document = json.loads(copy)
    assert (document["id"], document["status"], document["metadata"]) == (job_id, "completed", {"row": "7"})
    assert document["output"] == job["output"]

    def delivered() -> dict[str, Any] | None:
        found: dict[str, Any] = service.http.get(f"/v1/webhook_deliveries/copy_{job_id}_1").json()
        return found if found["state"] == "delivered" else None

    # The receiver has the second attempt before the keeper has recorded it.
    delivery = service.wait_until(delivered, "the second attempt")
    puts = [received for received in http_server.received if received.path.startswith("/put")]
    assert [received.body for received in puts] == [copy, copy]
    digest = base64.b64encode(hashlib.sha256(copy).digest()).decode()
    assert {received.headers["repr-digest"] for received in puts} == {f"sha-256=:{digest}:"}
    service.wait_until(lambda: any(received.path == "/hook" for received in http_server.received), "the webhook")
    [event] = [json.loads(received.body) for received in http_server.received if received.path == "/hook"]
    assert event["data"]["result_sha256"] == job["result_sha256"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 200]
    assert "X-Amz-Signature" not in service.log("keeper"), "a presigned URL is a secret"
    assert "X-Amz-Signature" not in json.dumps(delivery)
