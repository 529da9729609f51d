"""Entry point of the api process: ``python -m api``."""

import os
import resource
import signal
import socket
import sys
import threading
import time

import structlog
import uvicorn

from api.app import create_app
from api.dependencies import OBJECT_STORE_TIMEOUT_S
from api.middleware.http_protocol import bounded_protocol
from api.middleware.request_id import add_request_id
from jobs.errors import ObjectStoreUnsuitable, Unavailable
from jobs.objects.store import ObjectStore
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.read_settings import read_settings
from runtime.settings import Settings

UNACKNOWLEDGED_LIMIT_MS = 60_000
"""A connection is closed when sent data stays unacknowledged for this long."""
SHUTDOWN_TIMEOUT_S = 10
CHECK_INTERVAL_S = 5.0
"""Between two checks of an object store that was away when the process started."""

log = structlog.get_logger(__name__)


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="api", processors=[add_request_id])
    start_probe_server(settings, process="api")
    require_suitable_store(settings)
    # uvicorn raises the signal again after an orderly shutdown; exit with status 0 then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=bounded_protocol(),
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    _raise_open_files_limit()
    uvicorn.Server(config).run(sockets=[_bind(config)])


def require_suitable_store(settings: Settings) -> None:
    """End the process if the object store cannot keep results final. One that is away is checked when it answers."""
    object_store = ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=1)

    def is_checked() -> bool:
        try:
            object_store.probe_conditional_put()
        except ObjectStoreUnsuitable:
            raise
        except Unavailable as error:
            log.info("start.waiting", code=error.code)
            return False
        return True

    def check_later() -> None:
        while True:
            time.sleep(CHECK_INTERVAL_S)
            try:
                if is_checked():
                    return
            except ObjectStoreUnsuitable as error:
                log.critical("start.refused", detail=error.message)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    try:
        if not is_checked():
            threading.Thread(target=check_later, name="object store check", daemon=True).start()
    except ObjectStoreUnsuitable as error:
        raise SystemExit(error.message) from None


def _raise_open_files_limit() -> None:
    """Use all open files that the system permits; the usual default of 1,024 is less than ``MAX_STREAMS``."""
    _, permitted = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (permitted, permitted))


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
