"""Large bodies are handled by a process of their own; small calls and clients notice nothing of it."""

import base64
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from testing.api import HELLO
from testing.processes.service import Service
from testing.processes.waiting import wait_until

MIB = 2**20
MODULE = "api.handle_large_bodies"


@pytest.fixture
def api(isolated_service: Service) -> Service:
    isolated_service.start("api", MAX_BODY_BYTES=str(4 * MIB), API_KEYS_FILE="")
    isolated_service.wait_for_workers()
    return isolated_service


def large_body(size: int = MIB) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(os.urandom(size)).decode()
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def helpers(api: Service) -> list[psutil.Process]:
    """Return the processes for large bodies."""
    return [child for child in psutil.Process(api.processes["api"].pid).children() if MODULE in child.cmdline()]


def test_a_large_body_is_handled_by_another_process(api: Service) -> None:
    assert api.http.post("/v1/jobs", json=HELLO).status_code == 202
    assert not helpers(api), "it starts with the first large body"
    reply = api.http.post("/v1/jobs", json=large_body(), headers={"x-request-id": "mine", "idempotency-key": "k"})
    assert reply.status_code == 202
    assert reply.headers["x-request-id"] == "mine"
    assert reply.headers["location"].endswith(reply.json()["id"])
    assert len(helpers(api)) == 1
    assert api.http.get(f"/v1/jobs/{reply.json()['id']}").json()["status"] == "preparing"
    log = (api.logs / "api.log").read_text()
    accepted = [json.loads(line) for line in log.splitlines() if '"job.accepted"' in line]
    assert [line["request_id"] == "mine" for line in accepted] == [False, True]


def test_the_folder_for_temporary_files_may_have_a_long_path(isolated_service: Service, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    isolated_service.start("api", TMPDIR=str(folder))
    isolated_service.wait_for_workers()
    assert isolated_service.http.post("/v1/jobs", json=large_body()).status_code == 202
    assert list(folder.glob("thinkqueue-api-*/large-bodies"))


def test_a_body_of_unknown_length_is_handled_the_same(api: Service) -> None:
    content = iter([json.dumps(HELLO).encode()])
    reply = api.http.post("/v1/jobs", content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 202
    assert helpers(api)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b" " * MIB, {"content-type": "application/json"}, 400, "invalid_json"),
        (b"x" * MIB, {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"x" * MIB, {"content-type": "application/json", "content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"x" * 5 * MIB, {"content-type": "application/json"}, 413, "request_entity_too_large"),
        (
            json.dumps({**large_body(), "unknown": 1}).encode(),
            {"content-type": "application/json"},
            422,
            "invalid_request",
        ),
    ],
)
def test_errors_are_those_of_small_bodies(
    api: Service, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = api.http.post("/v1/jobs", content=content, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_client_cannot_name_another_caller(api: Service) -> None:
    fields = json.dumps({"id": "k", "tenant": "other"})
    reply = api.http.post("/v1/jobs", json=large_body(), headers={"x-thinkqueue-caller": fields})
    assert reply.status_code == 202
    assert api.http.get(f"/v1/jobs/{reply.json()['id']}").status_code == 200


def test_requests_wait_for_a_process_that_has_ended(api: Service) -> None:
    assert api.http.post("/v1/jobs", json=large_body()).status_code == 202
    (helper,) = helpers(api)
    helper.kill()
    helper.wait(10)
    # Its connections are broken: the first call may learn that only from the lost reply.
    replies = [api.http.post("/v1/jobs", json=large_body()) for _ in range(2)]
    assert replies[1].status_code == 202
    assert replies[0].status_code == 202 or replies[0].json()["code"] == "acceptance_unknown"
    (other,) = helpers(api)
    assert other.pid != helper.pid


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_api_process(api: Service, way: signal.Signals) -> None:
    assert api.http.post("/v1/jobs", json=large_body()).status_code == 202
    (helper,) = helpers(api)
    process = api.processes.pop("api")
    os.kill(process.pid, way)
    process.wait(30)
    wait_until(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE, "its end")


def test_large_bodies_do_not_delay_small_calls_of_the_same_process(api: Service) -> None:
    """No time is asserted: the parse of a large body must not run in the process that answers small calls."""
    with httpx.Client(base_url=api.url, timeout=30) as client:
        assert client.post("/v1/jobs", json=large_body(2 * MIB)).status_code == 202
    api_process = psutil.Process(api.processes["api"].pid)
    (helper,) = helpers(api)
    before, helper_before = api_process.cpu_times(), helper.cpu_times()
    for _ in range(5):
        assert api.http.post("/v1/jobs", json=large_body(2 * MIB)).status_code == 202
    used = api_process.cpu_times().user - before.user
    assert helper.cpu_times().user - helper_before.user > used
