"""The last means against a deaf worker: a process that does not end when it is told to is ended."""

import os
import subprocess
import sys

import pytest

from jobs.model.job import Stage
from jobs.wakeup.notify import notify
from testing.servers import Servers
from testing.table import Table

# The ear of a worker that hears nothing, with all waits a hundredth of the real ones; ``argv`` has what TERM does.
WORKER = """
import signal, sys, time
from jobs.model.job import Stage
from jobs.table.scripts import connect
from runtime.settings import Settings
from jobs.table.store import JobStore
from worker.consumer import watchdog

watchdog.STALL_TIMEOUT_S, watchdog.LOOK_S, watchdog.STOP_LIMIT_S = 0.45, 0.05, 0.9
settings = Settings()
store = JobStore(connect(settings), lease_s=settings.lease_s)
own = watchdog.ConsumerWatchdog(store, Stage.PREPARE, threads=1)

def leave(*_):
    own.stop()
    sys.exit(0)

signal.signal(signal.SIGTERM, leave if sys.argv[1] == "leaves" else lambda *_: print("stays", flush=True))
own.start()
give_up = time.monotonic() + 30
while time.monotonic() < give_up:
    time.sleep(0.05)
sys.exit(7)
"""


@pytest.mark.parametrize(("on_term", "status"), [("leaves", 0), ("stays", 1)])
def test_a_deaf_process_ends_by_itself_or_is_ended(table: Table, servers: Servers, on_term: str, status: int) -> None:
    table.accept("job_unheard")
    assert notify(table.store, Stage.PREPARE)
    ended = subprocess.run(
        [sys.executable, "-c", WORKER, on_term],
        env={**os.environ, **servers.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    assert "consumer.stalled" in ended.stdout + ended.stderr
    assert ("stays" in ended.stdout) == (on_term == "stays")
