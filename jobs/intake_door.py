"""Whether new jobs come in: shut by ``thinkqueue drain``, before something is stopped that all jobs need."""

import redis

from jobs.scripts import answers

CLOSED = "closed"
"""check.lua looks at it."""


class IntakeDoor:
    """Every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def close(self) -> None:
        """From now on, but for jobs that an api process has been granted room for in the last quarter of a second."""
        with answers():
            self._redis.set(CLOSED, "1")

    def open(self) -> None:
        with answers():
            self._redis.delete(CLOSED)

    def is_open(self) -> bool:
        with answers():
            return not self._redis.exists(CLOSED)
