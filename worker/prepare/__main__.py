"""Entry point of the prepare worker (Celery, threads): ``python -m worker.prepare``.

One process prepares many jobs at once. Celery's thread only receives wake-ups; each job has a thread that mostly waits.
Client files are opened in further processes, which are confined (sandbox/).
"""

import sys

import structlog

from jobs.lifecycle.bootstrap import wait_until_ready
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings
from runtime.settings.read import read_settings
from runtime.telemetry.logs import configure_logs
from runtime.telemetry.probes import start_probe_server
from worker.consumer.listen import Hooks, listen
from worker.prepare.sandbox.client import Sandbox, SandboxFailed
from worker.prepare.sandbox.self_test import check_confinement
from worker.prepare.scratch.folder import sweep
from worker.prepare.worker import PrepareWorker

log = structlog.get_logger(__name__)


def main() -> None:
    settings = read_settings()
    configure_logs(settings, process="prepare")
    sandbox = _start_sandbox(settings)
    store, object_store = JobStore(connect(settings), lease_s=settings.lease_s), ObjectStore(settings)
    worker = PrepareWorker(store, object_store, settings, sandbox)
    start_probe_server(settings, process="prepare", is_ready=lambda: worker.is_ready)
    wait_until_ready(store, object_store)
    # A worker that was killed leaves its files.
    if swept := sweep():
        log.info("scratch.swept", folders=swept)
    hooks = Hooks(start=worker.start, drain=worker.drain)
    try:
        status = listen(Stage.PREPARE, settings, worker.claim_available, concurrency=1, hooks=hooks)
    finally:
        worker.drain()
        worker.stop()
        sandbox.close()
    sys.exit(status)


def _start_sandbox(settings: Settings) -> Sandbox:
    """Start the fork server. Ends the process if the machine cannot confine decoders."""
    sandbox = Sandbox(is_confined=settings.sandbox == "required")
    sandbox.start()
    if settings.sandbox == "off":
        log.warning("sandbox.off")
        return sandbox
    try:
        check_confinement(sandbox)
    except SandboxFailed as error:
        log.critical("sandbox.unavailable", reason=str(error))
        sandbox.close()
        sys.exit(1)
    return sandbox


if __name__ == "__main__":
    main()
