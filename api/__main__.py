"""Entry point of the api process: ``python -m api``."""

import signal
import socket
import sys

import uvicorn

from api.app import create_app
from api.middleware.request_id import add_request_id
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.settings import Settings

UNACKNOWLEDGED_LIMIT_MS = 60_000
"""A connection is closed when sent data stays unacknowledged for this long."""
SHUTDOWN_TIMEOUT_S = 10


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="api", processors=[add_request_id])
    start_probe_server(settings)
    # uvicorn raises the signal again after an orderly shutdown; exit with status 0 then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    uvicorn.Server(config).run(sockets=[_bind(config)])


def _bind(config: uvicorn.Config) -> socket.socket:
    listener = config.bind_socket()
    # asyncio sets TCP_NODELAY only on sockets it created; without it bench/intake.py fell from 430 to 270 requests/s.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Connections inherit it. Without it, a connection whose client reads nothing stays open after a close.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_LIMIT_MS)
    return listener


if __name__ == "__main__":
    main()
