"""The files of a job are removed, also when its process is killed."""

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


def test_folder_is_removed_at_the_end_of_the_block(folder: Path) -> None:
    with scratch() as files:
        (files / "office").mkdir()
        (files / "office" / "a.pdf").write_bytes(b"x")
        assert files.parent == folder
    assert list(folder.iterdir()) == []


def test_sweep_removes_the_folder_of_a_killed_process(folder: Path) -> None:
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        with suppress(BaseException), scratch() as files:
            (files / "picture").write_bytes(b"x")
            os.write(writer, b"!")
            time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    assert sweep() == 0, "the folder is in use"
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert sweep() == 1
    assert list(folder.iterdir()) == []


def test_sweep_ignores_links_and_files(folder: Path) -> None:
    other = folder / "something-else"
    other.mkdir()
    (folder / "thinkqueue-job-link").symlink_to(other)
    (folder / "thinkqueue-job-file").write_bytes(b"x")
    assert sweep() == 0
    assert other.is_dir()
