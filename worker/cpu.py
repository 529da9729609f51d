"""PROCESS: the cpu worker (Celery, prefork). ``python -m worker.cpu``.

Each child is a worker of its own, with its own heart. Strangers' files are opened a process further (sandbox.py).
"""

import os
import sys
from typing import Any

import structlog
from celery.signals import worker_process_init, worker_process_shutdown, worker_shutting_down

from jobs import bells
from jobs.blobs import Blobs
from jobs.epoch import wait_until_ready
from jobs.errors import NotInitialised, ThinkqueueError, Unavailable
from jobs.logs import configure_logs
from jobs.monitor import watch_over
from jobs.record import Stage
from jobs.scripts import connect
from jobs.settings import Settings
from jobs.store import JobStore
from worker.consumer import consume
from worker.flag import Flag
from worker.heart import host_prefix
from worker.prepare import END_LIMIT_S, SERVE_LIMIT_S, Preparer
from worker.scratch import sweep

log = structlog.get_logger(__name__)

GRACE_S = 60.0
"""On top of a job's own limits, which cut first; then Celery kills the child."""


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="cpu")
    store = JobStore(connect(settings))
    watch_over(settings, is_ready=lambda: _has_ready_child(store))
    wait_until_ready(store, Blobs(settings))
    app = bells.configure(settings)
    child: list[Preparer] = []
    draining = Flag()

    @worker_process_init.connect(weak=False)
    def open_clients(**_: Any) -> None:
        # A child comes at the start, and when one was killed, which leaves its files behind.
        if swept := sweep():
            log.info("scratch.swept", folders=swept)
        # After the fork: a connection shared by two processes would mix their replies.
        preparer = Preparer(JobStore(connect(settings)), Blobs(settings), settings, is_draining=draining.is_up)
        preparer.heart.start()
        preparer.heart.tell("ready")
        preparer.leave_when(draining.wait)
        child.append(preparer)

    @worker_shutting_down.connect(weak=False)
    def drain(**_: Any) -> None:
        draining.hoist()

    @worker_process_shutdown.connect(weak=False)
    def leave(**_: Any) -> None:
        child[0].heart.stop()

    limit_s = SERVE_LIMIT_S + settings.prepare_timeout_s + END_LIMIT_S + GRACE_S

    @app.task(name=bells.TASKS[Stage.PREPARE], time_limit=limit_s)
    def serve(_version: int) -> None:
        try:
            child[0].serve()
        except (Unavailable, NotInitialised) as error:
            log.warning("bell.unanswered", stage=Stage.PREPARE, code=error.code)

    status = consume(app, Stage.PREPARE, settings, pool="prefork", concurrency=max(2, os.cpu_count() or 2))
    sweep()
    sys.exit(status)


def _has_ready_child(store: JobStore) -> bool:
    """Each child has a heart, and none of them is in this process."""
    try:
        return any(worker.id.startswith(host_prefix()) and worker.state == "ready" for worker in store.workers())
    except ThinkqueueError:
        return False


if __name__ == "__main__":
    main()
