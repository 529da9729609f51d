"""No log line has the path or the query of a URL: those of callbacks and media are secrets."""

import json
import os
import subprocess
import sys

import pytest

from runtime.telemetry.redaction import redact_urls
from testing.processes.http_server import HttpServer
from testing.processes.service import Service
from testing.processes.waiting import TIME_SCALE

PROGRAM = """
import asyncio, io, logging, sys, threading
import structlog
from runtime.telemetry.logs import configure_logs
from runtime.settings import Settings
from worker.egress.client import EgressClient

configure_logs(Settings(), process="test")
logging.getLogger().setLevel("DEBUG")
for name in ("httpx", "httpcore", "urllib3", "asyncio"):
    logging.getLogger(name).setLevel("DEBUG")
log = structlog.get_logger("test")
urls = sys.argv[1:]

async def fetch(url):
    async with EgressClient(Settings().egress_networks) as egress:
        await egress.download(url, io.BytesIO(), max_bytes=1000, timeout_s=5)

async def deliver(url):
    async with EgressClient(Settings().egress_networks) as egress:
        await egress.send("POST", url, body=b"{}", headers={}, timeout_s=5)

for url in urls:
    for call in (fetch, deliver):
        try:
            asyncio.run(call(url))
        except Exception as error:
            log.exception("fetch.failed", url=url, error=error, more={"urls": [url, error]})
            logging.getLogger("library").exception("could not get %s: %s", url, error)
            logging.getLogger("library").error("failed", exc_info=RuntimeError(f"GET {url}"))
        try:
            import httpx, urllib3
            httpx.get(url, timeout=5)
            urllib3.request("GET", url, timeout=5, retries=2)
        except Exception:
            log.exception("library.failed")

def crash():
    raise RuntimeError(f"in a thread: {urls[0]}")
thread = threading.Thread(target=crash); thread.start(); thread.join()
raise RuntimeError(f"at the end: {urls[0]}")
"""
SECRET = "s3cret-token"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_failing_requests_leave_no_secret_in_the_log(http_server: HttpServer, log_format: str) -> None:
    http_server.answer(f"/{SECRET}", status=503)
    urls = [
        http_server.url(f"/{SECRET}") + f"?{SECRET}=1",
        f"http://user:{SECRET}@127.0.0.1:9/{SECRET}?x={SECRET}#{SECRET}",
        f"http://nothing.invalid/it's/{SECRET}?{SECRET}",
    ]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.getcwd(),
        "LOG_FORMAT": log_format,
        "EGRESS_ALLOW": "127.0.0.0/8",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "S3_ENDPOINT": "http://127.0.0.1:8333",
        "S3_ACCESS_KEY": "key",
        "S3_SECRET_KEY": "very-secret",
        "WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *urls], env=environment, capture_output=True, text=True, timeout=60 * TIME_SCALE
    )
    assert done.returncode == 1, "the last exception ends the process"
    lines = [line for line in done.stderr.splitlines() if SECRET in line]
    assert lines == []
    for said in (
        "fetch.failed",
        "library.failed",
        "could not get http://127.0.0.1",
        "thread.crashed",
        "process.crashed",
    ):
        assert said in done.stderr
    assert "Traceback" in done.stderr
    if log_format == "json":
        assert all(json.loads(line)["process"] == "test" for line in done.stderr.splitlines())


def test_a_failed_fetch_and_a_failed_webhook_leave_no_secret_in_the_logs(service: Service) -> None:
    nowhere = f"http://127.0.0.1:9/{SECRET}?token={SECRET}"
    parts = [{"type": "image_url", "image_url": {"url": nowhere}}, {"type": "text", "text": "What is this?"}]
    job = service.submit(messages=[{"role": "user", "content": parts}], callback={"url": nowhere})
    service.wait_for_end(job)
    service.wait_until(lambda: job in service.log("keeper"), "the keeper tried the webhook")
    for name in ("api", "prepare", "keeper"):
        assert SECRET not in service.log(name)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GET https://user:pw@h.example:8443/a/b?c=d#e failed", "GET https://h.example:8443/… failed"),
        ("'https://h/a'), next", "'https://h/…'), next"),
        ("URL('https://h/a?x=1')", "URL('https://h/…')"),
        ("https://h/it's/a?q=b end", "https://h/… end"),
        ("https://h/a)b\nnext", "https://h/…\nnext"),
        ("redis://:pw@h:6379/0", "redis://h:6379/…"),
        ("http://[::1]:8080/a", "http://[::1]:8080/…"),
        ("https://h?a=1", "https://h/…"),
        ("https://h/", "https://h"),
        ("Max retries exceeded with url: /a?x (Caused by", "Max retries exceeded with url: /… (Caused by"),
        (
            "URL(scheme=b'https', host=b'h', port=443, target=b'/a')",
            "URL(scheme=b'https', host=b'h', port=443, target=b'/…')",
        ),
        ("no URL: a b://c d/e", "no URL: a b://c d/e"),
    ],
)
def test_of_a_url_only_scheme_and_host_remain(text: str, redacted: str) -> None:
    assert redact_urls(text) == redacted
