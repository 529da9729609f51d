"""The events of a response are the same bytes in every API process, while workers are killed, and from the archive."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jobs.objects.keys import events_key
from jobs.table import keys
from jobs.table.scripts import connect
from testing.inputs.request_bodies import FAR_FROM_TIES
from testing.processes.servers import free_ports
from testing.processes.service import Service

PATH = "/v1/responses"
BODY: dict[str, Any] = {
    "input": "Describe everything that you see.",
    "thinking": {"budget_tokens": 600},
    "max_output_tokens": 640,
    "background": True,
    "seed": 8,
    **FAR_FROM_TIES,
}
READ_LIMIT_S = 120


def without_comments(stream: bytes) -> bytes:
    return re.sub(rb": [^\n]*\r\n\r\n", b"", stream)


@pytest.fixture
def other(isolated_service: Service) -> Iterator[httpx.Client]:
    """A client of a second API process, which is not ready yet."""
    port = free_ports()
    isolated_service.start("api2", API_PORT=str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=READ_LIMIT_S) as client:
        yield client


def test_replicas_and_the_archive_send_the_same_bytes(isolated_service: Service, other: httpx.Client) -> None:
    service = isolated_service
    service.start_all()
    service.wait_until(lambda: is_ready(other), "the other API process")
    response_id = service.http.post(PATH, json=BODY).raise_for_status().json()["id"]
    url = f"{PATH}/{response_id}?stream=true"

    with service.http.stream("GET", url, timeout=READ_LIMIT_S) as first, other.stream("GET", url) as second:
        chunks = first.iter_bytes()
        live = b""
        while live.count(b"reasoning_text.delta") < 40:
            live += next(chunks)
        service.kill("generate")
        service.start("generate2")
        live = without_comments(live + b"".join(chunks))
        assert without_comments(b"".join(second.iter_bytes())) == live
    assert live.count(b"event: response.output_item.added") == 2, "the second worker has continued the same items"
    assert service.job(response_id.replace("resp_", "job_"))["attempt"] == 2

    job_id = response_id.replace("resp_", "job_")
    service.wait_until(lambda: not service.table.object_store.is_empty(events_key(job_id)), "the archive")
    connect(service.table.settings).delete(keys.stream(job_id))
    service.drain("api", "api2")
    service.start("api")  # without the streams that a process keeps
    service.wait_until(lambda: is_ready(service.http), "the API process")
    frames = live.split(b"\n\n")[:-1]
    assert service.http.get(url).content == live
    for number in range(0, len(frames), 97):
        rest = service.http.get(f"{url}&starting_after={number}").content
        assert rest.split(b"\n\n")[:-1] == frames[number + 1 :]


def is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False
