"""Whether new jobs come in: shut by ``thinkqueue drain``, before something is stopped that all jobs need."""

import redis

from jobs.table.scripts import translate_redis_errors

CLOSED = "closed"
"""check.lua looks at it."""


class IntakeSwitch:
    """Every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def pause(self) -> None:
        """From now on, but for jobs that an api process has been granted room for in the last quarter of a second."""
        with translate_redis_errors():
            self._redis.set(CLOSED, "1")

    def resume(self) -> None:
        with translate_redis_errors():
            self._redis.delete(CLOSED)

    def is_open(self) -> bool:
        with translate_redis_errors():
            return not self._redis.exists(CLOSED)
