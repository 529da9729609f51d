"""The workers that are alive, and the wake-ups that they have not received."""

from typing import cast

from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.scripts import translate_redis_errors
from jobs.table.store.client import TableClient
from jobs.table.types import WorkerStatus


class Workers(TableClient):
    """The state of workers and wake-ups."""

    def needs_wakeup(self, stage: Stage, *, full_worker: str = "", tenant: str = "") -> bool:
        """Whether jobs wait in a stage and too few wake-up messages are in its list.

        Args:
            full_worker: a worker without a free slot; then the answer is True only if another one has a free slot.
            tenant: whose job was added. While no worker has a free slot, the answer is False for a tenant with many
                waiting jobs: workers claim them when a slot becomes free.
        """
        return self._scripts.call("needs_wakeup", stage, self._lease_ms, full_worker, tenant)[0] == "ok"

    def pending_wakeups(self, stage: Stage) -> int:
        """Return the number of wake-up messages that no worker has received yet."""
        with translate_redis_errors():
            return int(self._redis.llen(keys.wakeups(stage)))

    def workers(self) -> list[WorkerStatus]:
        """Return the workers with a heartbeat within one lease."""
        found = []
        with translate_redis_errors():
            seconds, micros = self._redis.time()
            alive_since = seconds * 1000 + micros // 1000 - self._lease_ms
            for worker in cast("list[str]", self._redis.zrangebyscore(keys.WORKERS, alive_since, "+inf")):
                row = cast("dict[str, str]", self._redis.hgetall(keys.worker(worker)))
                if row:
                    found.append(WorkerStatus(worker, row["stage"], row["state"], int(row["slots"]), int(row["free"])))
        return found
