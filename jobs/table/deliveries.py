"""Webhook deliveries: their rows, the schedule, and the ledger of attempts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, cast

import redis

from jobs.table.scripts import LuaScripts, translate_redis_errors

DELIVERY_CLAIM_MS = 60_000
"""How long a keeper has for one attempt before another may take the row."""

COPY_EVENT = "result.copy"
"""Of rows that are no webhook but a copy of the result, for a presigned link: ``copy_<job>_<number>``."""

DeliveryState = Literal["delivered", "pending", "abandoned"]


@dataclass(frozen=True, slots=True)
class DueDelivery:
    id: str
    """Of a webhook also the event's id: ``evt_<job>_<type>``, the same for each attempt."""
    job_id: str
    """Empty for a test event."""
    event: str
    attempts: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One try, as it stands in the ledger."""

    at: str
    """ISO 8601, UTC."""
    status: int | None
    """HTTP status; None: there was no answer."""
    error: str | None
    latency_ms: int
    reply: str
    """The first bytes of the answer."""


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    job_id: str
    event: str
    state: DeliveryState
    attempts: list[DeliveryAttempt]


def test_event_key(delivery: str) -> str:
    """Where a test event's ``url``, ``tenant`` and ``created_at`` lie."""
    return f"deliveries/{delivery}.json"


def tombstone_key(delivery: str) -> str:
    """Where a job's delivery lies once it is settled: its state and attempts. `recover` does not send it anew."""
    return f"deliveries/{delivery}.json"


class DeliveryStore:
    """Safe to share between threads; every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._scripts = LuaScripts(client)

    def claim_due(self, *, claim: str, limit: int) -> list[DueDelivery]:
        """Due rows, taken under ``claim`` for a minute."""
        items = self._scripts.call("take_deliveries", claim, limit, DELIVERY_CLAIM_MS)[1:]
        rows = zip(*[iter(items)] * 5, strict=True)
        return [DueDelivery(row[0], row[1], row[2], int(row[3]), int(row[4])) for row in rows]

    def settle(
        self,
        delivery: str,
        *,
        claim: str,
        state: DeliveryState,
        attempt: DeliveryAttempt,
        wait_ms: int,
        retention_ms: int,
    ) -> bool:
        """Write down an attempt. False: another keeper has taken the row in the meantime."""
        line = json.dumps(asdict(attempt), ensure_ascii=False)
        return self._scripts.call("settle_delivery", delivery, claim, state, line, wait_ms, retention_ms)[0] == "ok"

    def postpone(self, delivery: str, *, claim: str, wait_ms: int) -> None:
        """Give a row back without an attempt."""
        self._scripts.call("postpone_delivery", delivery, claim, wait_ms)

    def redeliver(self, delivery: str) -> bool:
        """Make it due now, whatever became of it. False: there is no such row (any more)."""
        return self._scripts.call("redeliver", delivery)[0] == "ok"

    def restore_attempts(self, delivery: str, lines: Sequence[str], *, retention_ms: int) -> None:
        """The attempts of a delivery that was settled before its table was lost."""
        key = f"delivery:{delivery}:attempts"
        with translate_redis_errors():
            if lines and not self._redis.exists(key):
                self._redis.rpush(key, *lines)
                self._redis.pexpire(key, retention_ms)

    def create_test(self, delivery: str, *, event: str, retention_ms: int) -> None:
        """A row without a job, for an event that only tries a receiver."""
        self._scripts.call("test_delivery", delivery, event, retention_ms)

    def get(self, delivery: str) -> Delivery | None:
        """A row with all its attempts."""
        with translate_redis_errors():
            row = cast("dict[str, str]", self._redis.hgetall(f"delivery:{delivery}"))
            lines = cast("list[str]", self._redis.lrange(f"delivery:{delivery}:attempts", 0, -1))
        if not row:
            return None
        attempts = [DeliveryAttempt(**json.loads(line)) for line in lines]
        return Delivery(delivery, row["job"], row["event"], cast("DeliveryState", row["state"]), attempts)

    def list_for_job(self, job_id: str) -> list[Delivery]:
        """A job's deliveries, copies of its result first."""
        with translate_redis_errors():
            ids = cast("list[str]", self._redis.lrange(f"deliveries:{job_id}", 0, -1))
        return [found for delivery in ids if (found := self.get(delivery))]
