"""PROCESS: the HTTP api. ``python -m api``."""

import signal
import socket
import sys

import uvicorn

from api.app import create_app
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.settings import Settings

UNREAD_LIMIT_MS = 60_000
"""A client that takes no byte for so long loses its connection, whatever still waits to be sent to it."""


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="api")
    start_probe_server(settings)
    # uvicorn raises the signal again once it has shut down in order; that is a clean end here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    listener = config.bind_socket()
    # asyncio sets it only on sockets that it made itself; without it bench/intake.py fell from 430 to 270 requests/s.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Connections inherit it. Without it, one that is closed here but unread there stays open for ever.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_LIMIT_MS)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
