"""Serves ``/livez``, ``/readyz`` and ``/metrics`` of a process on MONITOR_PORT.

The port is separate from the API because it is for the operator: tenants must not see statistics of the whole service.
"""

import threading
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from runtime.settings import Settings
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

READ_TIMEOUT_S = 5
Check = Callable[[], bool]


def start_probe_server(
    settings: Settings, *, process: str, is_live: Check = lambda: True, is_ready: Check = lambda: True
) -> None:
    """Serve probes and metrics on MONITOR_PORT, unless it is 0, until the process ends.

    Args:
        process: name of the process, for ``thinkqueue_build_info``.
        is_live: False asks for a restart of the process. It must not depend on other servers: a restart would not
            bring them back.
        is_ready: whether the process does its work.

    Raises:
        SystemExit: the port is in use.
    """
    if not settings.monitor_port:
        return
    metrics.BUILD_INFO.labels(version("thinkqueue"), process).set(1)

    handler = _handler(settings.monitor_host, {"/livez": is_live, "/readyz": is_ready})
    try:
        server = ThreadingHTTPServer((settings.monitor_host, settings.monitor_port), handler)
    except OSError as error:
        raise SystemExit(
            f"MONITOR_PORT={settings.monitor_port} cannot be bound on {settings.monitor_host}: {error.strerror}. "
            "Each process on a machine needs a port of its own."
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="monitor", daemon=True).start()
    log.info("monitor.listening", port=settings.monitor_port)


def _handler(address: str, checks: Mapping[str, Check]) -> type[BaseHTTPRequestHandler]:
    """Return the handler of a server that listens on ``address``."""
    # A web page can point its own name to a loopback address (DNS rebinding), and read what that serves.
    is_loopback = _is_local(address)

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT_S

        def do_GET(self) -> None:
            if is_loopback and not all(map(_is_local, self.headers.get_all("host", ["localhost"]))):
                self._reply(HTTPStatus.MISDIRECTED_REQUEST, b"unknown host\n", "text/plain")
            elif is_loopback and _is_from_a_page(self.headers):
                self._reply(HTTPStatus.FORBIDDEN, b"cross-site request\n", "text/plain")
            elif self.path == "/metrics":
                self._reply(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path in checks:
                is_ok = checks[self.path]()
                status = HTTPStatus.OK if is_ok else HTTPStatus.SERVICE_UNAVAILABLE
                self._reply(status, b"ok\n" if is_ok else b"no\n", "text/plain")
            else:
                self._reply(HTTPStatus.NOT_FOUND, b"/livez /readyz /metrics\n", "text/plain")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing: probes come every few seconds."""

    return Handler


def _is_from_a_page(headers: Message) -> bool:
    """Whether a page of another site sent a request. Scrapers send neither of these headers; no page is served here."""
    return "origin" in headers or headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin")


def _is_local(host: str) -> bool:
    """Whether a host, with or without a port, is ``localhost`` or a loopback address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
