"""Is the job table the one that was begun, and does it hold all that was written?

Redis may be gone, read-only, started anew without its last second, or empty: the epoch tells the last, its run id the
others apart.
"""

from typing import cast

import redis

from jobs.errors import NotInitialized
from jobs.table.scripts import translate_redis_errors


class Integrity:
    """Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def ping(self) -> None:
        with translate_redis_errors():
            self._redis.ping()

    def try_write(self) -> None:
        """Raises StoreUnavailable while Redis reads only: its disk is full, or it is a replica."""
        with translate_redis_errors():
            self._redis.persist("epoch")  # which never expires: a write that changes nothing

    def epoch(self) -> str | None:
        with translate_redis_errors():
            return cast("str | None", self._redis.get("epoch"))

    def begin_epoch(self, epoch: str) -> str:
        """Set the epoch unless there is one; returns the one that holds."""
        with translate_redis_errors():
            self._redis.set("epoch", epoch, nx=True)
        return self.epoch() or epoch

    def require_epoch(self) -> None:
        if self.epoch() is None:
            raise NotInitialized

    def server_clock(self) -> tuple[str, float]:
        """Redis' run id and its time in seconds. Another run id: it restarted, and may have lost its last second."""
        with translate_redis_errors():
            run_id = str(self._redis.info("server")["run_id"])
            seconds, micros = self._redis.time()
        return run_id, seconds + micros / 1e6

    def reconciled(self) -> str | None:
        """The run of Redis up to which the table was held against the objects."""
        with translate_redis_errors():
            return cast("str | None", self._redis.get("reconciled"))

    def is_reconciled(self) -> bool:
        """Was the table held against the objects since Redis started? If not, what it does not know may exist."""
        return self.reconciled() == self.server_clock()[0]

    def mark_reconciled(self, run_id: str) -> None:
        with translate_redis_errors():
            self._redis.set("reconciled", run_id)
