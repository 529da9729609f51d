"""A process whose loop has stopped ends itself: neither Compose nor systemd asks its probes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testing.processes.servers import Servers
from testing.table import Table

SHORT_TIMES = {"ENGINE_STALL_TIMEOUT_S": "1", "KEEPER_STALL_TIMEOUT_S": "1", "STALL_EXIT_S": "1"}
KEEPER = """
import threading
from worker.keeper.__main__ import main
from worker.keeper.reaper import Reaper
Reaper.run_maintenance = lambda self: threading.Event().wait()
main()
"""
ENGINE = """
import threading
from engine import Engine
from worker.generate.__main__ import main
Engine.step = lambda self: threading.Event().wait()
main()
"""
EVENT_LOOP = """
import time
from worker.keeper.__main__ import main
from worker.keeper.delivery.dispatcher import DeliveryDispatcher

async def block(self):
    time.sleep(1_000)

DeliveryDispatcher.dispatch_due = block
main()
"""
INTERPRETER = """
import ctypes, time
from runtime.process.stall_exit import exit_when_stalled
exit_when_stalled(lambda: True, timeout_s=1)
time.sleep(1.5)
ctypes.PyDLL(None).sleep(1_000)  # keeps the interpreter locked
"""
RECOVERING = """
import time
from runtime.process.stall_exit import exit_when_stalled
began = time.monotonic()
exit_when_stalled(lambda: time.monotonic() - began > 0.5, timeout_s=1)
time.sleep(3)
"""


def run(program: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the exit status of a program and what it wrote."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LOG_FORMAT": "json", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("program", "stack"),
    [(KEEPER, "in <lambda>"), (EVENT_LOOP, "in block"), (ENGINE, "engine/loop.py")],
    ids=["keeper", "event loop", "engine"],
)
def test_a_process_with_a_stopped_loop_exits_with_the_stacks_of_its_threads(
    table: Table, servers: Servers, pocket_folder: Path, program: str, stack: str
) -> None:
    model = {"MODEL": str(pocket_folder), "MODEL_FAMILY": "pocket"}
    status, output = run(program, {**servers.environment(), **SHORT_TIMES, **model})
    assert status == 1, output
    assert "process.stalled" in output
    assert stack in output
    assert "most recent call first" in output


def test_a_call_that_locks_the_interpreter_ends_the_process() -> None:
    status, output = run(INTERPRETER)
    assert status == 1, output
    assert "Timeout" in output


def test_a_process_that_is_live_again_in_time_goes_on() -> None:
    assert run(RECOVERING) == (0, "")
