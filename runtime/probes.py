"""Serves ``/livez``, ``/readyz`` and ``/metrics`` of a process on MONITOR_PORT.

The port is separate from the API because it is for the operator: tenants must not see statistics of the whole service.
"""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from runtime.settings import Settings

log = structlog.get_logger(__name__)

READ_TIMEOUT_S = 5
Check = Callable[[], bool]


def start_probe_server(settings: Settings, *, is_live: Check = lambda: True, is_ready: Check = lambda: True) -> None:
    """Serve probes and metrics on MONITOR_PORT, unless it is 0, until the process ends.

    Args:
        is_live: False asks for a restart of the process. It must not depend on other servers: a restart would not
            bring them back.
        is_ready: whether the process does its work.

    Raises:
        SystemExit: the port is in use.
    """
    if not settings.monitor_port:
        return

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._reply(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path in ("/livez", "/readyz"):
                is_ok = (is_live if self.path == "/livez" else is_ready)()
                status = HTTPStatus.OK if is_ok else HTTPStatus.SERVICE_UNAVAILABLE
                self._reply(status, b"ok\n" if is_ok else b"no\n", "text/plain")
            else:
                self._reply(HTTPStatus.NOT_FOUND, b"/livez /readyz /metrics\n", "text/plain")

        def _reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing: probes come every few seconds."""

    try:
        server = ThreadingHTTPServer((settings.monitor_host, settings.monitor_port), Handler)
    except OSError as error:
        raise SystemExit(
            f"MONITOR_PORT={settings.monitor_port} cannot be bound on {settings.monitor_host}: {error.strerror}. "
            "Each process on a machine needs a port of its own."
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="monitor", daemon=True).start()
    log.info("monitor.listening", port=settings.monitor_port)
