"""Fetching a job's media from the object store and from URLs."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import JobFailed
from testing.processes.http_server import HttpServer
from testing.table import Table
from worker.prepare.deadline import Deadline
from worker.prepare.fetch import MediaFetcher, list_media
from worker.prepare.preparation import Preparation


def conversation(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]


def fetch(table: Table, folder: Path, *parts: dict[str, Any], limit_s: float = 30) -> list[bytes]:
    """Fetch message parts; return the content of their files."""
    media = list_media(conversation(*parts), folder)
    fetcher = MediaFetcher(table.object_store, table.settings)
    fetcher.start()
    try:
        fetcher.fetch(media, Preparation("a", Deadline(limit_s), check=lambda: None))
    finally:
        fetcher.stop()
    return [item.path.read_bytes() for item in media]


def test_media_are_named_by_type_and_position(tmp_path: Path) -> None:
    parts = [{"type": kind, "key": "x"} for kind in ("image", "video", "image", "document")]
    media = list_media(conversation(*parts) + conversation({"type": "image", "key": "x"}), tmp_path)
    assert [item.name for item in media] == ["Image 1", "Video 1", "Image 2", "Document 1", "Image 3"]
    assert len({item.path for item in media}) == 5


def test_uploads_and_urls_are_written_to_files(table: Table, http_server: HttpServer, tmp_path: Path) -> None:
    table.object_store.put("media/a", b"uploaded", "image/png")
    url = http_server.answer("/b", body=b"fetched")
    parts = ({"type": "image", "key": "media/a"}, {"type": "document", "url": url})
    assert fetch(table, tmp_path, *parts) == [b"uploaded", b"fetched"]


def test_a_missing_upload_fails_the_job(table: Table, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="Image 1 no longer exists") as error:
        fetch(table, tmp_path, {"type": "image", "key": "media/missing"})
    assert error.value.failure_code == "media_missing"


def test_a_temporary_error_of_a_host_is_retried(table: Table, http_server: HttpServer, tmp_path: Path) -> None:
    """The file has only the body of the last attempt: what an earlier one wrote is overwritten."""

    def break_off_once(request: BaseHTTPRequestHandler) -> None:
        is_first = len(http_server.received) == 1
        request.send_response(200)
        request.send_header("content-length", "500" if is_first else "4")
        request.end_headers()
        request.wfile.write(b"incomplete" if is_first else b"done")

    http_server.answers["/a"] = break_off_once
    assert fetch(table, tmp_path, {"type": "image", "url": http_server.url("/a")}) == [b"done"]


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 3)])
def test_only_temporary_errors_are_retried(
    table: Table, http_server: HttpServer, tmp_path: Path, status: int, attempts: int
) -> None:
    url = http_server.answer("/a", status)
    with pytest.raises(JobFailed, match=f"Image 1: .*{status}") as error:
        fetch(table, tmp_path, {"type": "image", "url": url})
    assert error.value.failure_code == "url_status"
    assert len(http_server.received) == attempts


def test_the_jobs_deadline_ends_fetching(table: Table, http_server: HttpServer, tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as error:
        fetch(table, tmp_path, {"type": "image", "url": http_server.answer("/a")}, limit_s=0)
    assert error.value.failure_code == "prepare_timeout"
    assert http_server.received == []
