"""Pause and resume the intake of new jobs: ``thinkqueue drain`` uses it before a component that all jobs need stops."""

import redis

from jobs.table import keys
from jobs.table.scripts import force_set, translate_redis_errors


class IntakeSwitch:
    """Pauses and resumes the intake. Every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def pause(self) -> None:
        """Refuse new jobs. An api process may still accept what it was granted in the last quarter of a second."""
        force_set(self._redis, keys.INTAKE_PAUSED, "1")

    def resume(self) -> None:
        with translate_redis_errors():
            self._redis.delete(keys.INTAKE_PAUSED)

    def is_open(self) -> bool:
        with translate_redis_errors():
            return not self._redis.exists(keys.INTAKE_PAUSED)
