"""Entry point of the process that runs batches: ``python -m api.run_batches``, started by the api process.

It ends when no batch is left. A process of its own, because reading and writing large files holds Python's global lock.
"""

import os
import signal
import threading

import structlog

from api.openai.batches.runner import create_runner
from jobs.errors import NotInitialized, Unavailable
from jobs.wakeup.app import configure_app
from runtime.process.child import end_with_parent
from runtime.process.garbage import freeze_startup_objects
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs

log = structlog.get_logger(__name__)

NICENESS = 5
"""Calls of clients go first."""
INTERVAL_S = 0.2
IDLE_ROUNDS = 50
"""Rounds without a batch after which the process ends."""


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="api")
    os.nice(NICENESS)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches both; the api process ends this one
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    end_with_parent()
    configure_app(settings)
    freeze_startup_objects()
    runner = create_runner(settings)
    idle = 0
    while idle < IDLE_ROUNDS and not stop.is_set():
        try:
            idle = 0 if runner.run_once() else idle + 1
        except (Unavailable, NotInitialized) as error:
            log.warning("batches.delayed", code=error.code)
        stop.wait(INTERVAL_S)
    try:
        runner.stop()
    except (Unavailable, NotInitialized):
        log.info("batches.leases_kept")  # they expire


if __name__ == "__main__":
    main()
