"""The files of a job are removed, also when its process is killed."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from worker.prepare.scratch.folder import scratch, sweep


def test_folder_is_removed_at_the_end_of_the_block(tmp_path: Path) -> None:
    with scratch(tmp_path) as files:
        (files / "office").mkdir()
        (files / "office" / "a.pdf").write_bytes(b"x")
        assert files.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_the_folder_of_a_killed_process(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        with suppress(BaseException), scratch(tmp_path) as files:
            (files / "picture").write_bytes(b"x")
            os.write(writer, b"!")
            time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    assert sweep(tmp_path) == 0, "the folder is in use"
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_sweep_ignores_links_and_files(tmp_path: Path) -> None:
    other = tmp_path / "something-else"
    other.mkdir()
    (tmp_path / "thinkqueue-job-link").symlink_to(other)
    (tmp_path / "thinkqueue-job-file").write_bytes(b"x")
    assert sweep(tmp_path) == 0
    assert other.is_dir()
