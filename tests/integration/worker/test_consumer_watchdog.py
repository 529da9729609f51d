"""A process whose Celery consumer is stalled shuts down on SIGTERM, or exits if it does not."""

import os
import subprocess
import sys

import pytest

from jobs.model.job import Stage
from jobs.wakeup.notify import notify
from testing.processes.servers import Servers
from testing.table import Table

# The watchdog of a worker that receives no wake-up. The argument says what the process does at SIGTERM.
WORKER = """
import signal, sys, time
from jobs.model.job import Stage
from jobs.table.scripts import connect
from runtime.settings import Settings
from jobs.table.store import JobStore
from worker.consumer.watchdog import ConsumerWatchdog

settings = Settings()
watchdog = ConsumerWatchdog(JobStore(connect(settings), lease_s=settings.lease_s), Stage.PREPARE, settings, threads=1)

def leave(*_):
    watchdog.stop()
    sys.exit(0)

signal.signal(signal.SIGTERM, leave if sys.argv[1] == "leaves" else lambda *_: print("stays", flush=True))
watchdog.start()
give_up_at = time.monotonic() + 30
while time.monotonic() < give_up_at:
    time.sleep(0.05)
sys.exit(7)
"""
SHORT_TIMES = {
    "CONSUMER_STALL_TIMEOUT_S": "0.45",
    "CONSUMER_CHECK_INTERVAL_S": "0.05",
    "CONSUMER_STOP_TIMEOUT_S": "0.9",
}


@pytest.mark.parametrize(("on_term", "status"), [("leaves", 0), ("stays", 1)])
def test_stalled_process_shuts_down_or_is_ended(table: Table, servers: Servers, on_term: str, status: int) -> None:
    table.accept("job_waiting")
    assert notify(table.store, Stage.PREPARE)
    ended = subprocess.run(
        [sys.executable, "-c", WORKER, on_term],
        env={**os.environ, **servers.environment(), **SHORT_TIMES},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    assert "consumer.stalled" in ended.stdout + ended.stderr
    assert ("stays" in ended.stdout) == (on_term == "stays")
