"""Entry point of the prepare worker (Celery, prefork): ``python -m worker.prepare``.

Each child process is a worker with its own heartbeat. Client files are opened in a further process (sandbox/).
"""

import os
import sys

from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.logs import configure_logs
from runtime.probes import start_probe_server
from runtime.read_settings import read_settings
from worker.consumer.listen import Hooks, listen
from worker.prepare.child import PrepareChild, has_ready_child
from worker.prepare.scratch import sweep


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="prepare")
    store = JobStore(connect(settings), lease_s=settings.lease_s)
    start_probe_server(settings, is_ready=lambda: has_ready_child(store))
    wait_until_ready(store, ObjectStore(settings))
    child = PrepareChild(settings)
    status = listen(
        Stage.PREPARE,
        settings,
        child.claim_available,
        pool="prefork",
        concurrency=max(2, os.cpu_count() or 2),
        hooks=Hooks(start_child=child.start, on_sigterm=child.draining.set, stop_child=child.stop),
        time_limit_s=child.time_limit_s,
    )
    sweep()
    sys.exit(status)


if __name__ == "__main__":
    main()
