"""Entry point of the api process: ``python -m api``."""

import os
import signal
import sys
import threading
import time

import structlog
import uvicorn

from api.app import create_app
from api.dependencies import OBJECT_STORE_TIMEOUT_S
from api.large_bodies.process import LargeBodyProcess
from api.listener import ACCEPTED_AT_ONCE, ApiServer, bind, connection_limit, raise_open_files_limit
from api.middleware.protocol.http_protocol import bounded_protocol
from api.middleware.protocol.request_id import add_request_id
from api.openai.batches.process import BatchProcess
from jobs.errors import ObjectStoreUnsuitable, Unavailable
from jobs.objects.store import ObjectStore
from runtime.process.garbage import freeze_startup_objects
from runtime.settings import Settings
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs
from runtime.telemetry.probes import start_probe_server

SHUTDOWN_TIMEOUT_S = 10
CHECK_INTERVAL_S = 5.0
"""Between two checks of an object store that was away when the process started."""

log = structlog.get_logger(__name__)


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="api", processors=[add_request_id])
    start_probe_server(settings, process="api")
    store_check = StoreCheck(settings)
    store_check.start()
    open_files = raise_open_files_limit()
    connections = connection_limit(open_files)
    if connections < settings.max_streams:
        log.warning("start.few_open_files", open_files=open_files, connections=connections)
    # uvicorn raises the signal again after an orderly shutdown.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(store_check.exit_status))
    app = create_app(
        settings,
        max_connections=connections,
        large_bodies=LargeBodyProcess(),
        batch_process=BatchProcess(settings),
    )
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=bounded_protocol(connections),
        backlog=ACCEPTED_AT_ONCE,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    freeze_startup_objects()
    ApiServer(config).run(sockets=[bind(config)])
    sys.exit(store_check.exit_status)


class StoreCheck:
    """Ends the process if the object store cannot keep results final. One that is away is checked when it answers."""

    def __init__(self, settings: Settings) -> None:
        self._object_store = ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=1)
        self.exit_status = 0
        """Of the process when it ends: 1 after the store was refused."""

    def start(self) -> None:
        """Check now, or in the background while the store does not answer. Raises SystemExit."""
        try:
            if not self._is_checked():
                threading.Thread(target=self._check_later, name="object store check", daemon=True).start()
        except ObjectStoreUnsuitable as error:
            raise SystemExit(error.message) from None

    def _is_checked(self) -> bool:
        try:
            self._object_store.probe_conditional_put()
            self._probe_if_match()
        except ObjectStoreUnsuitable:
            raise
        except Unavailable as error:
            log.info("start.waiting", code=error.code)
            return False
        return True

    def _probe_if_match(self) -> None:
        """Only rotations of secrets and keys need it, so the service starts without it."""
        try:
            self._object_store.probe_if_match()
        except ObjectStoreUnsuitable as error:
            log.warning("start.without_if_match", detail=error.message)

    def _check_later(self) -> None:
        while True:
            time.sleep(CHECK_INTERVAL_S)
            try:
                if self._is_checked():
                    return
            except ObjectStoreUnsuitable as error:
                log.critical("start.refused", detail=error.message)
                self.exit_status = 1
                os.kill(os.getpid(), signal.SIGTERM)
                return


if __name__ == "__main__":
    main()
