"""A process of its own for strangers' files: whatever happens in it, its parent hears a code and goes on."""

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


def code_of(work: Any, **limits: Any) -> str:
    with pytest.raises(MediaError) as error:
        run(work, **limits)
    return error.value.code


def test_what_work_returns_comes_back() -> None:
    assert run(lambda: {"pages": [1, 2], "pid": os.getpid()})["pid"] != os.getpid()


def test_a_refusal_comes_back_as_it_is() -> None:
    def refuse() -> None:
        raise MediaError("image_aspect", "it is too long.")

    with pytest.raises(MediaError, match=r"it is too long\.") as error:
        run(refuse)
    assert error.value.code == "image_aspect"


def test_a_crash_has_a_code() -> None:
    assert code_of(lambda: ctypes.string_at(0)) == "decode_crashed"
    assert code_of(os.abort) == "decode_crashed"
    assert code_of(lambda: os._exit(3)) == "decode_crashed"
    assert code_of(lambda: 1 / 0) == "decode_crashed"


def test_memory_is_bounded() -> None:
    assert code_of(lambda: len(bytearray(8 * 2**30))) == "decode_memory"
    before = psutil.Process().memory_info().rss
    assert run(lambda: len(bytearray(2**28))) == 2**28
    assert psutil.Process().memory_info().rss - before < 2**26, "its memory is its own"


def test_a_decoder_that_aborts_for_want_of_memory_says_so() -> None:
    """As PDFium does: no exception, only a signal."""

    def swell() -> None:
        held = [b"x" * 2**24 for _ in range(20)]
        os.abort()
        held.clear()

    assert code_of(swell, memory_bytes=600 * 2**20) == "decode_memory"


def test_a_limit_that_is_over_at_once_ends_it_too() -> None:
    started = time.monotonic()
    assert code_of(lambda: time.sleep(60), timeout_s=0) == "decode_timeout"
    assert time.monotonic() - started < 10


def test_what_it_started_ends_with_the_worker(tmp_path: Path) -> None:
    """Celery kills a child that hangs, with a signal that nobody can hear."""
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
    give_up = time.monotonic() + 10
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(pid)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    give_up = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < give_up, "it is still there"
        time.sleep(0.02)


def test_time_is_bounded_for_it_and_for_all_that_it_starts(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def hang() -> None:
        child = subprocess.Popen(["sh", "-c", "sleep 300 & echo $! >> pids; wait"], cwd=tmp_path)
        child.wait()

    started = time.monotonic()
    assert code_of(hang, folder=tmp_path, timeout_s=1) == "decode_timeout"
    assert time.monotonic() - started < 10
    [pid] = map(int, pids.read_text().split())
    wait_for_end(pid)


def test_it_has_nothing_open_and_leaves_no_core() -> None:
    def look() -> list[Any]:
        return [_open_files(), *resource.getrlimit(resource.RLIMIT_CORE)]

    assert run(look) == [[0, 1, 2, 3], 0, 0], "stdin, stdout, stderr, and where its answer goes"


def _open_files() -> list[int]:
    found = []
    for number in range(1_024):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def test_it_sees_its_folder_and_no_other_data(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (own / "in").write_text("mine")
    (other / "secret").write_text("somebody's")

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


@pytest.mark.skipif(landlock.abi_version() < landlock.ABI_WITH_NETWORK, reason="the kernel's Landlock knows no network")
def test_it_connects_to_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def connect() -> str:
            try:
                socket.create_connection(address, timeout=2)
            except PermissionError:
                return "refused"
            return "connected"

        assert run(connect) == "refused"


def test_nothing_is_left_behind() -> None:
    for _ in range(5):
        run(lambda: 1)
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
