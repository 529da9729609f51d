"""Which batches have not ended, and which runner works on each."""

from typing import cast

import redis

from jobs.errors import TooManyBatches
from jobs.table import keys
from jobs.table.scripts import LuaScripts, translate_redis_errors


class BatchLedger:
    """Safe to share between threads. Every method raises StoreUnavailable and RecoveryNeeded."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._scripts = LuaScripts(client)

    def open(self, tenant: str, batch_id: str, created_ms: int, *, max_open: int = 0) -> None:
        """Note a batch that has not ended, so that a runner takes it. Does nothing to one that is noted.

        Args:
            max_open: batches of the tenant that have not ended, at most; 0: no limit.

        Raises:
            TooManyBatches
        """
        reply = self._scripts.call("open_batch", tenant, batch_id, created_ms, max_open)
        if reply[0] == "too_many":
            raise TooManyBatches(
                f"{reply[1]} of your batches have not ended; the limit is {max_open}. Wait until some end, or cancel "
                "some."
            )

    def list_open(self, *, limit: int = 1_000) -> list[tuple[str, str]]:
        """Return the tenant and id of batches that have not ended, the oldest first."""
        with translate_redis_errors():
            found = cast("list[str]", self._redis.zrange(keys.BATCHES_OPEN, 0, limit - 1))
        return [(tenant, batch_id) for tenant, _, batch_id in (name.rpartition("/") for name in found)]

    def hold(self, batch_id: str, runner: str, *, lease_s: float) -> bool:
        """Begin or renew the lease of a batch. False: another runner has it."""
        return self._scripts.call("hold_batch", batch_id, runner, round(lease_s * 1000))[0] == "ok"

    def release(self, batch_id: str, runner: str) -> None:
        """End the lease of a batch, if this runner has it."""
        self._scripts.call("hold_batch", batch_id, runner, 0)

    def close(self, tenant: str, batch_id: str) -> None:
        """Forget a batch that has ended."""
        self._scripts.call("close_batch", tenant, batch_id)
