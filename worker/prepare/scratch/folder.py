"""A temporary folder per job, removed with the job, or by the next sweep if its process was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW_PREFIX, LOCKED_PREFIX = "thinkqueue-new-", "thinkqueue-job-"


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Create a folder and lock it while it is in use.

    A lock, not a process id: process ids mean nothing where containers share /tmp.

    Args:
        parent: the folder in which it is created; None: the system's folder for temporary files.
    """
    new = Path(tempfile.mkdtemp(prefix=NEW_PREFIX, dir=parent))
    lock = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Sweeps look for this name; the folder takes it only after it is locked.
        folder = new.rename(new.with_name(new.name.replace(NEW_PREFIX, LOCKED_PREFIX)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def sweep(parent: Path | None = None) -> int:
    """Remove the folders that no process has locked; return how many. ``parent``: as for ``scratch``."""
    removed = 0
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{LOCKED_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        except BlockingIOError:
            continue  # in use
        finally:
            os.close(lock)
    return removed
