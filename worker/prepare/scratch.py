"""A job's folder for files on their way. It goes with the job, or when its process was killed, with the next sweep."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEW, LOCKED = "thinkqueue-new-", "thinkqueue-job-"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is locked while it is in use: a process id would say nothing where containers share /tmp."""
    new = Path(tempfile.mkdtemp(prefix=NEW))
    lock = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It takes the name that sweeps look for only now that they find it locked.
        folder = new.rename(new.with_name(new.name.replace(NEW, LOCKED)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def sweep() -> int:
    """Remove the folders of processes that are no more; returns how many."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{LOCKED}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        except BlockingIOError:
            continue  # somebody works in it
        finally:
            os.close(lock)
    return removed
