"""Entry point of the generate worker (Celery, threads): ``python -m worker.generate``.

One process holds one model. Celery's thread only receives wake-ups; each job has a thread that mostly waits, and the
engine steps in a thread of its own.
"""

import sys

from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs
from runtime.telemetry.probes import start_probe_server
from worker.consumer.listen import Hooks, listen
from worker.generate.process import GenerateProcess


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="generate")
    store, object_store = JobStore(connect(settings), lease_s=settings.lease_s), ObjectStore(settings)
    process = GenerateProcess(store, object_store, settings)
    start_probe_server(settings, process="generate", is_live=process.is_live, is_ready=process.is_ready)
    wait_until_ready(store, object_store)
    hooks = Hooks(start=process.start, drain=process.drain)
    try:
        status = listen(Stage.GENERATE, settings, process.claim_available, concurrency=1, hooks=hooks)
    finally:
        process.stop()
    sys.exit(1 if process.is_device_lost else status)


if __name__ == "__main__":
    main()
