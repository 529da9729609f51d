"""Every kind of input by real processes: what goes in, what the model is shown, what comes out."""

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.fixtures.documents import deck, pdf
from tests.fixtures.http_server import HttpServer
from tests.fixtures.service import Service, question
from tests.fixtures.videos import clip

SHORT = {"thinking": {"budget_tokens": 8}, "max_answer_tokens": 4}


def ended(service: Service, *parts: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    return service.await_end(service.post(messages=question(*parts), **{**SHORT, **more}))


def file_part(url: str, **more: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_url": url, **more}}


def video_part(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def picture(medium: dict[str, Any]) -> Image.Image:
    reply = httpx.get(medium["url"], timeout=10)
    assert reply.status_code == 200
    return Image.open(io.BytesIO(reply.content))


def test_the_pages_that_were_asked_for_are_seen(service: Service, http_server: HttpServer) -> None:
    url = http_server.answer("/report", body=pdf(9))
    job = ended(service, "Compare", file_part(url, pages="2,7-8"), "these pages.")
    assert job["status"] == "completed", job
    assert [(medium["kind"], medium["name"]) for medium in job["media"]] == [
        ("page", "0-page-2.png"),
        ("page", "1-page-7.png"),
        ("page", "2-page-8.png"),
    ]
    assert picture(job["media"][1]).size[0] > 100


@pytest.mark.usefixtures("office")
def test_slides_are_seen(service: Service, http_server: HttpServer) -> None:
    job = ended(service, file_part(http_server.answer("/deck.bin", body=deck(2))), "What is it about?")
    assert job["status"] == "completed", job
    assert [medium["kind"] for medium in job["media"]] == ["page", "page"]


def test_a_video_is_seen_and_has_a_contact_sheet(service: Service, http_server: HttpServer, tmp_path: Path) -> None:
    url = http_server.answer("/clip", body=clip(tmp_path / "a.mp4").read_bytes())
    job = ended(service, video_part(url), "What moves?")
    assert job["status"] == "completed", job
    assert [(medium["kind"], medium["name"]) for medium in job["media"]] == [("contact_sheet", "video-0.png")]
    assert picture(job["media"][0]).size == (4 * 240, 198)


def test_what_is_wrong_with_a_file_is_said(service: Service, http_server: HttpServer) -> None:
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "long": (file_part(http_server.answer("/long", body=pdf(10_000, color=False))), "document_too_long", "pages"),
        "page": (file_part(http_server.answer("/short", body=pdf(3)), pages="4"), "document_pages", "no page 4"),
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
