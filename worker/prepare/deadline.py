"""One time limit for all steps of preparing a job."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import JobFailed


class Deadline:
    """Used by one thread; others may read ``overdue_s``."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._ends_at = time.monotonic() + limit_s
        self._paused_at: float | None = None

    @property
    def overdue_s(self) -> float:
        """Seconds since the time was over; 0 before that, and while the deadline is paused."""
        return max(0.0, time.monotonic() - self._ends_at) if self._paused_at is None else 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block: the job waits for its turn."""
        started = self._paused_at = time.monotonic()
        try:
            yield
        finally:
            self._ends_at += time.monotonic() - started
            self._paused_at = None

    def left(self, at_most: float) -> float:
        """Return the seconds that one step may take: what remains, but no more than ``at_most``.

        Raises:
            JobFailed: no time remains.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            message = f"Fetching and converting took longer than {self._limit_s:.0f} s; send fewer or smaller files."
            raise JobFailed("prepare_timeout", message)
        return min(at_most, left)
