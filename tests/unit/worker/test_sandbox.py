"""The sandbox for clients' files: whatever happens in it, the worker gets a result or an error code and continues."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing.processes.waiting import wait_until
from tests.unit.worker import sandbox_programs as programs
from worker.prepare.media.errors import MediaError
from worker.prepare.sandbox.client import Sandbox, SandboxFailed
from worker.prepare.sandbox.self_test import check_confinement

MEMORY = 4 * 2**30


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


def run(sandbox: Sandbox, folder: Path, function: Any, *arguments: Any, **more: Any) -> Any:
    limits = {"timeout_s": 20.0, "memory_bytes": MEMORY, **more}
    return sandbox.run(function, *arguments, writable=folder, **limits)


def error_code_of(sandbox: Sandbox, folder: Path, function: Any, *arguments: Any, **limits: Any) -> str:
    with pytest.raises(MediaError) as error:
        run(sandbox, folder, function, *arguments, **limits)
    return error.value.code


def server_of(sandbox: Sandbox) -> psutil.Process:
    assert sandbox._server is not None
    return psutil.Process(sandbox._server.process.pid)


def test_the_child_has_nothing_of_the_worker(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its environment nor its files, and no core dump that could contain them."""
    monkeypatch.setenv("S3_SECRET_KEY", "a secret of the worker")
    found = run(sandbox, tmp_path, programs.describe)
    assert found["pid"] != os.getpid()
    assert found["files"] == [0, 1, 2, 3], "stdin, stdout, stderr and the pipe for the result"
    assert found["core"] == [0, 0]
    assert "a secret of the worker" not in str(found["environment"])
    other = Sandbox()  # also one that starts when the secret is set already
    assert "a secret of the worker" not in str(run(other, tmp_path, programs.describe)["environment"])
    assert "a secret of the worker" not in str(server_of(other).environ())
    other.close()


def test_the_child_has_its_folder_and_does_not_write_to_the_workers_log(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(sandbox, tmp_path, programs.write_note, tmp_path) == "mine"
    assert (tmp_path / "out").read_text() == "mine"
    assert capfd.readouterr().out == ""


def test_a_media_error_is_raised_in_the_worker_unchanged(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"it is too long\.") as error:
        run(sandbox, tmp_path, programs.refuse)
    assert error.value.code == "image_aspect"


@pytest.mark.parametrize("how", ["segfault", "abort", "exit", "forged", "exception"])
def test_a_crash_has_an_error_code(sandbox: Sandbox, tmp_path: Path, how: str) -> None:
    assert error_code_of(sandbox, tmp_path, programs.crash, how) == "decode_crashed"


def test_memory_is_limited(sandbox: Sandbox, tmp_path: Path) -> None:
    assert error_code_of(sandbox, tmp_path, programs.allocate, 8 * 2**30) == "decode_memory"
    assert run(sandbox, tmp_path, programs.allocate, 2**28) == 2**28


def test_a_decoder_that_aborts_when_memory_runs_out_has_the_memory_error_code(sandbox: Sandbox, tmp_path: Path) -> None:
    """PDFium does this: there is no exception, only a signal."""
    code = error_code_of(sandbox, tmp_path, programs.use_memory_and_abort, memory_bytes=600 * 2**20)
    assert code == "decode_memory"


def test_a_timeout_of_zero_ends_the_work_too(sandbox: Sandbox, tmp_path: Path) -> None:
    started = time.monotonic()
    assert error_code_of(sandbox, tmp_path, programs.sleep, timeout_s=0) == "decode_timeout"
    assert time.monotonic() - started < 100, "it did not wait for the work"


def test_the_work_ends_when_its_job_is_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    marker = tmp_path / "started"

    def check() -> None:
        if marker.exists():
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(sandbox, tmp_path, programs.sleep, marker, check=check, timeout_s=100)
    assert server_of(sandbox).children() == []


@pytest.mark.parametrize(
    "script",
    [
        "sleep 300 & echo $! > pid; wait",
        "(sleep 300 & echo $! > pid)",
        "setsid sh -c 'echo $$ > pid; exec sleep 300' & wait $!; test -e pid || (sleep 300 & echo $! > pid); sleep 300",
        "nohup setsid -f sleep 300; (trap '' TERM HUP; sleep 300 & echo $! > pid)",
    ],
)
def test_no_process_of_a_program_outlives_it(sandbox: Sandbox, tmp_path: Path, script: str) -> None:
    """Whether it ends by itself or at its time limit; and no zombie remains."""
    try:
        run(sandbox, tmp_path, programs.run_script, script, tmp_path, starts_programs=True, timeout_s=1.5)
    except MediaError as error:
        assert error.code == "decode_timeout"  # noqa: PT017
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid)
    assert server_of(sandbox).children(recursive=True) == []


def test_everything_ends_when_the_worker_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.unit.worker import sandbox_programs as programs\n"
        "from worker.prepare.sandbox.client import Sandbox\n"
        "folder = Path(sys.argv[1])\n"
        "Sandbox().run(programs.run_script, 'sleep 300 & echo $! > new; mv new pid; wait', folder, writable=folder,"
        " timeout_s=60, memory_bytes=2**32, starts_programs=True)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_until((tmp_path / "pid").exists, "the program has started")
    processes = psutil.Process(worker.pid).children(recursive=True)
    assert len(processes) >= 3
    worker.kill()
    worker.wait()
    wait_until(lambda: not any(_runs(process) for process in processes), "the end of its processes")


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_fork_server_is_replaced_and_the_work_repeated(tmp_path: Path) -> None:
    sandbox, marker = Sandbox(), tmp_path / "started"
    assert run(sandbox, tmp_path, programs.allocate, 1) == 1

    def kill() -> None:
        wait_until(marker.exists, "the work has started")
        first.kill()

    first = server_of(sandbox)
    thread = threading.Thread(target=kill)
    thread.start()
    assert error_code_of(sandbox, tmp_path, programs.sleep, marker, timeout_s=3) == "decode_timeout"
    thread.join()
    assert server_of(sandbox) != first
    os.kill(server_of(sandbox).pid, signal.SIGKILL)
    assert run(sandbox, tmp_path, programs.allocate, 2) == 2
    sandbox.close()


def test_long_work_gets_the_lowest_priority(sandbox: Sandbox, tmp_path: Path) -> None:
    """So that short work of other tenants finds a free core."""
    marker, priorities = tmp_path / "started", list[int]()

    def check() -> None:
        if marker.exists():
            [child] = server_of(sandbox).children()
            priorities.append(child.nice())
            if child.nice() == 19:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        run(sandbox, tmp_path, programs.sleep, marker, check=check, timeout_s=100)
    assert priorities[0] < 19


def test_nothing_runs_where_the_kernel_cannot_confine_it(tmp_path: Path) -> None:
    sandbox = Sandbox(max_landlock_abi=0)
    with pytest.raises(SandboxFailed, match="no Landlock"):
        run(sandbox, tmp_path, programs.write_note, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SandboxFailed, match="SANDBOX=off"):
        check_confinement(sandbox)
    sandbox.close()


def test_the_self_test_finds_out_that_nothing_confines(sandbox: Sandbox) -> None:
    check_confinement(sandbox)
    unconfined = Sandbox(is_confined=False)
    with pytest.raises(SandboxFailed, match=r"read a file, open a socket, .*signal the worker"):
        check_confinement(unconfined)
    unconfined.close()
