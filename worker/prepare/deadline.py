"""One time limit for all steps of preparing a job."""

import time

from jobs.errors import JobFailed


class Deadline:
    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._ends_at = time.monotonic() + limit_s

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

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
