"""An api process with few open files, while clients open more connections than it can take."""

import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from testing.api import HELLO
from testing.processes.servers import free_ports
from testing.processes.service import Service

OPEN_FILES = 200


def spawn_with_few_files(module: str, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            ["bash", "-c", f"ulimit -n {OPEN_FILES}; exec {sys.executable} -m {module}"],
            env=dict(environment),
            stdout=output,
            stderr=output,
        )


@dataclass(frozen=True)
class Api:
    service: Service
    monitor: str
    """URL of its MONITOR_PORT."""


@pytest.fixture
def api(isolated_service: Service) -> Api:
    service, port = isolated_service, free_ports()
    service.spawn = spawn_with_few_files
    service.start("api", MONITOR_PORT=str(port), MAX_STREAMS="100")
    service.wait_for_workers()
    return Api(service, f"http://127.0.0.1:{port}")


def open_connection(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30)


def test_half_sent_requests_at_a_low_limit_of_files_leave_room_for_probes_and_requests(api: Api) -> None:
    service = api.service
    with ExitStack() as stack:
        for _ in range(3):
            for _ in range(230):
                stack.enter_context(open_connection(service)).sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: local")
            assert httpx.get(f"{api.monitor}/livez", timeout=30).status_code == 200
            reply = httpx.post(f"{service.url}/v1/jobs", json=HELLO, timeout=30)
            assert reply.status_code == 202, reply.text
    assert len(service.log("api")) < 20_000
    assert "no_open_files" not in service.log("api")
    assert "start.few_open_files" in service.log("api")


def test_connections_with_requests_in_progress_are_limited_and_more_are_refused(api: Api) -> None:
    service = api.service
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with ExitStack() as stack:

        def refusal() -> str | None:
            for _ in range(20):
                stack.enter_context(open_connection(service)).sendall(head)
            line = stack.enter_context(open_connection(service))
            line.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            reply = b"".join(iter(lambda: line.recv(1_000), b"")).decode()
            return reply if reply.startswith("HTTP/1.1 503") else None

        reply = service.wait_until(refusal, "a request is refused")
        assert "too_many_connections" in reply
        assert "retry-after: 5" in reply.lower()
        assert httpx.get(f"{api.monitor}/livez", timeout=30).status_code == 200
    service.wait_until(lambda: httpx.get(f"{service.url}/v1/jobs").status_code == 200, "connections are free again")
