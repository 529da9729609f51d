"""Files of jobs do not outlive them, however their process ends."""

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from worker.prepare.scratch import scratch, sweep


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_job(folder: Path) -> None:
    with scratch() as files:
        (files / "office").mkdir()
        (files / "office" / "a.pdf").write_bytes(b"x")
        assert files.parent == folder
    assert list(folder.iterdir()) == []


def test_a_killed_process_leaves_it_to_the_sweep(folder: Path) -> None:
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        with suppress(BaseException), scratch() as files:
            (files / "picture").write_bytes(b"x")
            os.write(writer, b"!")
            time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    assert sweep() == 0, "it is in use"
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert sweep() == 1
    assert list(folder.iterdir()) == []


def test_what_is_not_ours_is_left_alone(folder: Path) -> None:
    other = folder / "something-else"
    other.mkdir()
    (folder / "thinkqueue-job-link").symlink_to(other)
    (folder / "thinkqueue-job-file").write_bytes(b"x")
    assert sweep() == 0
    assert other.is_dir()
