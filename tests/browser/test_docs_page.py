"""The API reference at ``/docs``, in a real browser: Swagger UI runs under the page's Content-Security-Policy."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.processes.service import Service
from testing.processes.waiting import LIMIT_S, TIME_SCALE

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",  # of the page's own clock, which stops while a request is open
)
PATH = re.compile(r'class="opblock-summary-path" data-path="([^"]+)"')


@dataclass
class Visit:
    """What a browser did with a page."""

    dom: str
    console: list[str]
    requests: set[str]
    """URLs that the page requested. Chromium's own requests, for its updates, have no initiator and are left out."""


def visit(chromium: str, url: str, folder: Path) -> Visit:
    """Open a page and return its DOM after the scripts have run."""
    net_log = folder / "net.json"
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to sandbox the pages of root
    command = [chromium, *FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net_log}"]
    result = subprocess.run(
        [*command, "--dump-dom", url], capture_output=True, text=True, timeout=LIMIT_S * TIME_SCALE, check=True
    )
    log: dict[str, Any] = json.loads(net_log.read_text("utf-8"))
    started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [event.get("params", {}) for event in log["events"] if event["type"] == started]
    return Visit(
        result.stdout,
        [line for line in result.stderr.splitlines() if "CONSOLE" in line],
        {request["url"] for request in requests if request.get("initiator", "not an origin") != "not an origin"},
    )


@pytest.fixture
def api(isolated_service: Service) -> Service:
    isolated_service.start("api")
    isolated_service.wait_for_workers()
    return isolated_service


def test_the_reference_lists_every_operation_and_loads_nothing_from_other_hosts(
    api: Service, chromium: str, tmp_path: Path
) -> None:
    document = api.http.get("/openapi.json").json()
    operation = document["paths"]["/v1/jobs"]["post"]
    page = visit(chromium, f"{api.url}/docs/#/jobs/{operation['operationId']}", tmp_path)

    operations = [
        path for part in ("paths", "webhooks") for path, methods in document[part].items() for _ in range(len(methods))
    ]
    assert sorted(PATH.findall(page.dom)) == sorted(operations)
    assert operation["description"].partition("`")[0] in page.dom, "the operation of the URL's fragment is not expanded"
    assert f"{api.url}/openapi.json" in page.requests
    assert [url for url in page.requests if not url.startswith((f"{api.url}/", "data:"))] == []
    # Blocked requests and scripts are console messages. Swagger UI warns of every `_` in a fragment.
    assert [line for line in page.console if "Deprecated: escaping deep link" not in line] == []
