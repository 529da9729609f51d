"""PROCESS: the HTTP api. ``python -m api``."""

import signal
import sys

import uvicorn

from api.app import create_app
from jobs.logs import configure_logs
from jobs.settings import Settings


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="api")
    # uvicorn raises the signal again once it has shut down in order; that is a clean end here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
