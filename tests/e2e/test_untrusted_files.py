"""Malformed and hostile files: each job ends with a result or an error code, and the prepare worker is unharmed."""

import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing.inputs.malformed_files import COMPLETED, malformed_files
from testing.inputs.request_bodies import SHAPES_PNG, image_part, question
from testing.processes.http_server import HttpServer
from testing.processes.service import Service
from worker.prepare.media.documents.libreoffice import find_libreoffice

REPEATS = 2
MAX_GROWTH_BYTES = 60 * 2**20
"""How much the prepare worker and its fork server may have grown at the end."""


def part(kind: str, url: str) -> dict[str, Any]:
    if kind == "document":
        return {"type": "file", "file": {"file_url": url}}
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


def memory(worker: psutil.Process) -> dict[int, int]:
    return {process.pid: process.memory_info().rss for process in (worker, *worker.children(recursive=True))}


@pytest.mark.slow
def test_every_file_ends_its_job_and_leaves_the_worker_unharmed(
    isolated_service: Service, http_server: HttpServer, tmp_path: Path
) -> None:
    service, scratch = isolated_service, tmp_path / "scratch"
    scratch.mkdir()
    service.start("api", "generate", "keeper")
    service.start("prepare", TMPDIR=str(scratch))
    service.wait_for_workers(prepare=1, generate=1, keeper=1)
    worker = psutil.Process(service.processes["prepare"].pid)
    warm_up = service.submit(messages=question(image_part(http_server.answer("/a.png", body=SHAPES_PNG))))
    service.wait_for_end(warm_up, 280)  # the first file loads the decoders
    before, own = memory(worker), set(os.listdir(scratch))

    files = malformed_files(tmp_path, has_office=find_libreoffice() is not None)
    urls = {name: http_server.answer(f"/{number}", body=files[name][1]) for number, name in enumerate(files)}
    names = [*files] * REPEATS
    random.Random(4).shuffle(names)
    short = {"thinking": {"budget_tokens": 2}, "max_answer_tokens": 2}
    jobs = [
        (name, service.submit(messages=question(part(files[name][0], urls[name]), "What is it?"), **short))
        for name in names
    ]
    ends = [(name, service.wait_for_end(job_id, 280)) for name, job_id in jobs]

    found = {(name, job["error"]["code"] if job["error"] else job["status"]) for name, job in ends}
    assert found == {(name, end) for name, (_, _, end) in files.items()}
    assert all(job["media"] for _, job in ends if job["status"] == COMPLETED)
    assert all(len(job["error"]["message"]) < 400 for _, job in ends if job["error"])
    assert memory(worker).keys() == before.keys(), "the fork server was lost, or a decoder is left"
    assert all(used < before[pid] + MAX_GROWTH_BYTES for pid, used in memory(worker).items())
    assert set(os.listdir(scratch)) == own, "temporary files left"


FORBIDDEN = (
    "http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://127.1:{port}/x", "http://2130706433:{port}/x",
    "http://0x7f.0.0.1:{port}/x", "http://[::1]:{port}/x",
    "http://[::ffff:127.0.0.1]:{port}/x", "http://[::127.0.0.1]:{port}/x", "http://[64:ff9b::7f00:1]:{port}/x",
    "http://[2002:7f00:1::]:{port}/x", "http://0.0.0.0:{port}/x",
    "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://192.168.0.1/", "http://[fd00:ec2::254]/",
)  # fmt: skip
NOT_REACHED = {"url_forbidden", "url_unreachable", "url_invalid"}
"""A machine without IPv6 has no such address and reports that first."""
REFUSED = (
    "http://0177.0.0.1/x",
    "ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "http://u:p@example.com/",
    "http://example.com:99999/", "http://example.com/a\r\nX: y", "http:///x", "//example.com/x", "http://exa mple.com/",
)  # fmt: skip


def test_internal_addresses_are_never_reached(isolated_service: Service, http_server: HttpServer) -> None:
    """By media, webhooks and copies of results."""
    service = isolated_service
    service.start("api", EGRESS_ALLOW="0.0.0.0/0,::/0")  # it would refuse these addresses at once
    service.start("prepare", "generate", "keeper", EGRESS_ALLOW="")
    service.wait_for_workers(prepare=1, generate=1, keeper=1)
    http_server.answer("/x", body=b"secret")
    urls = [url.format(port=http_server.port) for url in FORBIDDEN]
    short = {"thinking": {"budget_tokens": 2}, "max_answer_tokens": 2}

    jobs = {url: service.submit(messages=question(image_part(url), "What?"), **short) for url in urls}
    codes = {url: service.wait_for_end(job_id)["error"]["code"] for url, job_id in jobs.items()}
    assert set(codes.values()) <= NOT_REACHED, codes

    notified = {
        url: service.submit(messages=question("Hi."), callback={"url": url}, result_urls=[url], **short) for url in urls
    }
    for url, job_id in notified.items():
        assert service.wait_for_end(job_id)["status"] == COMPLETED
        for delivery in (f"evt_{job_id}_completed", f"copy_{job_id}_0"):
            row = service.wait_until(partial(attempted, service, delivery), f"an attempt at {url}")
            assert row["attempts"][0]["status"] is None
            assert row["attempts"][0]["error"].partition(":")[0] in NOT_REACHED, row
    assert http_server.received == []

    for url in REFUSED:
        for body in (
            {"messages": question(image_part(url))},
            {"messages": question("Hi."), "callback": {"url": url}},
            {"messages": question("Hi."), "result_urls": [url]},
        ):
            reply = service.http.post("/v1/jobs", json=body)
            assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request"), (url, body)


def attempted(service: Service, delivery: str) -> dict[str, Any] | None:
    reply = service.http.get(f"/v1/webhook_deliveries/{delivery}")
    row: dict[str, Any] | None = reply.json() if reply.status_code == 200 else None
    return row if row and row["attempts"] else None
