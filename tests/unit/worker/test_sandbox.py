"""The sandbox for clients' files: whatever happens in it, the worker gets a result or an error code and continues."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from worker.prepare.media.errors import MediaError
from worker.prepare.sandbox import landlock
from worker.prepare.sandbox.process import run_sandboxed

MEMORY = 4 * 2**30


def run(work: Any, *, folder: Path = Path("/nowhere"), timeout_s: float = 20, memory_bytes: int = MEMORY) -> Any:
    return run_sandboxed(work, folder=folder, timeout_s=timeout_s, memory_bytes=memory_bytes)


def error_code_of(work: Any, **limits: Any) -> str:
    with pytest.raises(MediaError) as error:
        run(work, **limits)
    return error.value.code


def test_the_result_of_the_work_is_returned() -> None:
    assert run(lambda: {"pages": [1, 2], "pid": os.getpid()})["pid"] != os.getpid()


def test_a_media_error_is_raised_in_the_worker_unchanged() -> None:
    def refuse() -> None:
        raise MediaError("image_aspect", "it is too long.")

    with pytest.raises(MediaError, match=r"it is too long\.") as error:
        run(refuse)
    assert error.value.code == "image_aspect"


def test_a_crash_has_an_error_code() -> None:
    assert error_code_of(lambda: ctypes.string_at(0)) == "decode_crashed"
    assert error_code_of(os.abort) == "decode_crashed"
    assert error_code_of(lambda: os._exit(3)) == "decode_crashed"
    assert error_code_of(lambda: 1 / 0) == "decode_crashed"


def test_memory_is_limited_and_is_not_the_workers() -> None:
    assert error_code_of(lambda: len(bytearray(8 * 2**30))) == "decode_memory"
    before = psutil.Process().memory_info().rss
    assert run(lambda: len(bytearray(2**28))) == 2**28
    assert psutil.Process().memory_info().rss - before < 2**26


def test_a_decoder_that_aborts_when_memory_runs_out_has_the_memory_error_code() -> None:
    """PDFium does this: there is no exception, only a signal."""

    def use_memory_and_abort() -> None:
        blocks = [b"x" * 2**24 for _ in range(20)]
        os.abort()
        blocks.clear()

    assert error_code_of(use_memory_and_abort, memory_bytes=600 * 2**20) == "decode_memory"


def test_a_timeout_of_zero_ends_the_work_too() -> None:
    started = time.monotonic()
    assert error_code_of(lambda: time.sleep(60), timeout_s=0) == "decode_timeout"
    assert time.monotonic() - started < 30, "it did not wait for the work"


def test_a_program_that_the_work_started_ends_when_the_worker_is_killed(tmp_path: Path) -> None:
    """Celery kills a child that hangs with SIGKILL, which no process can handle."""
    worker = os.fork()
    if worker == 0:
        with suppress(BaseException):
            script = "sleep 300 & echo $! > pid.new; mv pid.new pid; wait"
            run_sandboxed(
                lambda: subprocess.run(["sh", "-c", script], cwd=tmp_path, check=False),
                folder=tmp_path,
                timeout_s=60,
                memory_bytes=MEMORY,
                starts_programs=True,
            )
        os._exit(0)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(pid)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} is still running"
        time.sleep(0.02)


def test_the_timeout_ends_the_work_and_all_programs_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def hang() -> None:
        child = subprocess.Popen(["sh", "-c", "sleep 300 & echo $! >> pids; wait"], cwd=tmp_path)
        child.wait()

    started = time.monotonic()
    assert error_code_of(hang, folder=tmp_path, timeout_s=1) == "decode_timeout"
    assert time.monotonic() - started < 30, "it did not wait for the program"
    [pid] = map(int, pids.read_text().split())
    wait_for_end(pid)


def test_the_child_inherits_no_open_files_and_writes_no_core_dump() -> None:
    def inspect() -> list[Any]:
        return [_open_files(), *resource.getrlimit(resource.RLIMIT_CORE)]

    assert run(inspect) == [[0, 1, 2, 3], 0, 0], "stdin, stdout, stderr and the pipe for the result"


def _open_files() -> list[int]:
    found = []
    for number in range(1_024):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def test_the_child_has_access_to_its_folder_and_no_other_data(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (own / "in").write_text("mine")
    (other / "secret").write_text("another job's")

    def work() -> list[str]:
        (own / "out").write_text((own / "in").read_text())
        refused = []
        for attempt in (
            lambda: (other / "secret").read_text(),
            lambda: (other / "new").write_text("x"),
            lambda: os.listdir(other),
            lambda: Path("/etc/hostname").read_text(),
            lambda: subprocess.run(["cat", str(other / "secret")], check=True, capture_output=True),
        ):
            try:
                attempt()
            except (OSError, subprocess.CalledProcessError) as error:
                refused.append(type(error).__name__)
        return refused

    assert run(work, folder=own) == ["PermissionError"] * 4 + ["CalledProcessError"]
    assert (own / "out").read_text() == "mine"
    assert not (other / "new").exists()


@pytest.mark.skipif(
    landlock.abi_version() < landlock.ABI_WITH_NETWORK, reason="this kernel's Landlock cannot restrict the network"
)
def test_the_child_cannot_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def connect() -> str:
            try:
                socket.create_connection(address, timeout=2)
            except PermissionError:
                return "refused"
            return "connected"

        assert run(connect) == "refused"


def test_no_zombie_process_remains() -> None:
    for _ in range(5):
        run(lambda: 1)
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
