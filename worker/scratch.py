"""A job's folder for files on their way. It goes with the job, and when its process was killed, with the next sweep."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "thinkqueue-job-"
SETTLED_S = 60.0
"""A folder so young may be one that is not locked yet."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is locked while it is in use: a process id would say nothing where containers share /tmp."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(lock)


def sweep() -> int:
    """Remove the folders of processes that are no more; returns how many."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if time.time() - os.fstat(lock).st_mtime < SETTLED_S:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        except BlockingIOError:
            continue  # somebody works in it
        finally:
            os.close(lock)
    return removed
