"""Entry point of the process for large bodies: ``python -m api.handle_large_bodies FD``, started by the api process.

Args:
    FD: the descriptor of a listening Unix socket.
"""

import os
import signal
import sys

import uvicorn

from api.app import create_inner_app
from api.middleware.protocol.request_id import add_request_id
from runtime.process.child import end_with_parent
from runtime.process.garbage import freeze_startup_objects
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs

NICENESS = 5
"""Small calls go first: other tenants wait for them."""
SHUTDOWN_TIMEOUT_S = 10


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="api", processors=[add_request_id])
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches both; the api process ends this one
    end_with_parent()
    config = uvicorn.Config(
        create_inner_app(settings),
        fd=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    freeze_startup_objects()
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
