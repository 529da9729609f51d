"""Whether Redis has the right job table, and all that was written to it.

Redis may be unreachable, read-only, restarted without its last second, or empty. A missing epoch shows an empty table;
a new run id shows a restart.
"""

from typing import cast

import redis

from jobs.errors import NotInitialized
from jobs.table import keys
from jobs.table.scripts import force_set, translate_redis_errors


class Integrity:
    """Reads and writes the epoch and the run id. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def ping(self) -> None:
        with translate_redis_errors():
            self._redis.ping()

    def try_write(self) -> None:
        """Check that Redis accepts writes. Raises StoreUnavailable: its disk is full, or it is a replica."""
        with translate_redis_errors():
            self._redis.persist(keys.EPOCH)  # it never expires, so this write changes nothing

    def epoch(self) -> str | None:
        with translate_redis_errors():
            return cast("str | None", self._redis.get(keys.EPOCH))

    def begin_epoch(self, epoch: str) -> str:
        """Set the epoch unless there is one. Return the current one."""
        with translate_redis_errors():
            self._redis.set(keys.EPOCH, epoch, nx=True)
        return self.epoch() or epoch

    def require_epoch(self) -> None:
        """Check that there is an epoch. Raises NotInitialized."""
        if self.epoch() is None:
            raise NotInitialized

    def server_clock(self) -> tuple[str, float]:
        """Return Redis' run id and its time in seconds. A restart, which may lose the last second, changes the id."""
        with translate_redis_errors():
            run_id = str(self._redis.info("server")["run_id"])
            seconds, micros = self._redis.time()
        return run_id, seconds + micros / 1e6

    def reconciled(self) -> str | None:
        """Return the run id for which the table was last reconciled with the object store."""
        with translate_redis_errors():
            return cast("str | None", self._redis.get(keys.RECONCILED))

    def is_reconciled(self) -> bool:
        """Whether the table was reconciled since Redis started. If not, jobs may exist that it does not know."""
        return self.reconciled() == self.server_clock()[0]

    def mark_reconciled(self, run_id: str) -> None:
        force_set(self._redis, keys.RECONCILED, run_id)
