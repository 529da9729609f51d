"""Whether Redis has the right job table, and all that was written to it.

Redis may be unreachable, read-only, restarted without its last second, or empty. A missing epoch shows an empty table;
a new run id shows a restart, or a replica that was promoted.

After a fail-over, the earlier primary may accept writes until it notices that it is cut off, and clients may still be
connected to it. What they write is lost when it becomes a replica. The table of a promoted replica is therefore
reconciled twice: at once, and when no such writes can happen any more.
"""

from typing import cast

import redis

from jobs.errors import NotInitialized
from jobs.table import keys
from jobs.table.scripts import force_set, translate_redis_errors

LATE_WRITES_S = 60.0
"""How long after a fail-over the earlier primary may accept writes; ``min-replicas-max-lag`` (10 s) ends it earlier."""


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
        """Return Redis' run id and its time in seconds. A restart or a fail-over, which may lose writes, changes it."""
        with translate_redis_errors():
            run_id = str(self._redis.info("server")["run_id"])
            seconds, micros = self._redis.time()
        return run_id, seconds + micros / 1e6

    def reconciled(self) -> str | None:
        """Return the run id for which the table was last reconciled with the object store."""
        with translate_redis_errors():
            return cast("str | None", self._redis.get(keys.RECONCILED))

    def is_reconciled(self) -> bool:
        """Whether the table was reconciled since Redis started or failed over. If not, it may not know all jobs."""
        return self.reconciled() == self.server_clock()[0]

    def mark_reconciled(self, run_id: str) -> None:
        """Store that the table is reconciled. For a promoted replica, the first call plans a second reconciliation."""
        now = self.server_clock()[1]
        again = self._second_reconciliation(run_id)
        if again is None and self.reconciled() != run_id and self._is_promoted():
            force_set(self._redis, keys.RECONCILE_AGAIN, f"{run_id} {now + LATE_WRITES_S:.0f}")
        elif again is not None and again <= now:
            with translate_redis_errors():
                self._redis.delete(keys.RECONCILE_AGAIN)
        force_set(self._redis, keys.RECONCILED, run_id)

    def is_second_reconciliation_due(self) -> bool:
        run_id, now = self.server_clock()
        again = self._second_reconciliation(run_id)
        return again is not None and again <= now

    def _second_reconciliation(self, run_id: str) -> float | None:
        """Return when a second reconciliation of this process' data is due."""
        with translate_redis_errors():
            stored = cast("str | None", self._redis.get(keys.RECONCILE_AGAIN))
        of_run_id, _, due = (stored or "").partition(" ")
        return float(due) if of_run_id == run_id else None

    def _is_promoted(self) -> bool:
        """Whether the server was a replica before. Managed services may hide it: then it may have been one."""
        with translate_redis_errors():
            earlier = self._redis.info("replication").get("master_replid2")
        return str(earlier or "unknown").strip("0") != ""
