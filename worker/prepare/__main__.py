"""PROCESS: the prepare worker (Celery, prefork). ``python -m worker.prepare``.

Each child is a worker of its own, with its own heartbeat. Strangers' files are opened a process further (sandbox.py).
"""

import os
import sys
from typing import Any

import structlog
from celery.signals import worker_process_init, worker_process_shutdown, worker_shutting_down

from jobs.errors import NotInitialized, ThinkqueueError, Unavailable
from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.wakeup import notify
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.settings import Settings
from worker.consumer.bootstrap import consume
from worker.heartbeat import host_prefix
from worker.prepare.pipe_event import PipeEvent
from worker.prepare.preparer import END_LIMIT_S, SERVE_LIMIT_S, Preparer
from worker.prepare.scratch import sweep

log = structlog.get_logger(__name__)

GRACE_S = 60.0
"""On top of a job's own limits, which cut first; then Celery kills the child."""


def main() -> None:
    settings = Settings()
    configure_logs(settings, process="prepare")
    store = JobStore(connect(settings), lease_s=settings.lease_s)
    start_probe_server(settings, is_ready=lambda: _has_ready_child(store))
    wait_until_ready(store, ObjectStore(settings))
    app = notify.configure(settings)
    child: list[Preparer] = []
    draining = PipeEvent()

    @worker_process_init.connect(weak=False)
    def open_clients(**_: Any) -> None:
        # A child comes at the start, and when one was killed, which leaves its files behind.
        if swept := sweep():
            log.info("scratch.swept", folders=swept)
        # After the fork: a connection shared by two processes would mix their replies.
        preparer = Preparer(
            JobStore(connect(settings), lease_s=settings.lease_s),
            ObjectStore(settings),
            settings,
            is_draining=draining.is_set,
        )
        preparer.heartbeat.start()
        preparer.heartbeat.set_state("ready")
        preparer.leave_when(draining.wait)
        child.append(preparer)

    @worker_shutting_down.connect(weak=False)
    def drain(**_: Any) -> None:
        draining.set()

    @worker_process_shutdown.connect(weak=False)
    def leave(**_: Any) -> None:
        child[0].heartbeat.stop()

    limit_s = SERVE_LIMIT_S + settings.prepare_timeout_s + END_LIMIT_S + GRACE_S

    @app.task(name=notify.TASKS[Stage.PREPARE], time_limit=limit_s)
    def serve(_version: int) -> None:
        try:
            child[0].serve()
        except (Unavailable, NotInitialized) as error:
            log.warning("wakeup.failed", stage=Stage.PREPARE, code=error.code)

    status = consume(app, Stage.PREPARE, settings, pool="prefork", concurrency=max(2, os.cpu_count() or 2))
    sweep()
    sys.exit(status)


def _has_ready_child(store: JobStore) -> bool:
    """Each child has a heartbeat, and none of them is in this process."""
    try:
        return any(worker.id.startswith(host_prefix()) and worker.state == "ready" for worker in store.workers())
    except ThinkqueueError:
        return False


if __name__ == "__main__":
    main()
