"""Webhook deliveries: their rows, the schedule, and the ledger of attempts."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, cast

import redis

from jobs.scripts import Scripts, answers

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
class Attempt:
    """One try, as it stands in the ledger."""

    at: str
    """ISO 8601, UTC."""
    status: int | None
    """HTTP status; None: there was no answer."""
    error: str | None
    latency_ms: int
    reply: str
    """The first bytes of the answer."""


def trial_key(delivery: str) -> str:
    """Where a test event's ``url``, ``tenant`` and ``created_at`` lie."""
    return f"deliveries/{delivery}.json"


class Deliveries:
    """Safe to share between threads; every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._scripts = Scripts(client)

    def take(self, *, claim: str, limit: int) -> list[DueDelivery]:
        """Due rows, taken under ``claim`` for a minute."""
        items = self._scripts.call("take_deliveries", claim, limit, DELIVERY_CLAIM_MS)[1:]
        rows = zip(*[iter(items)] * 5, strict=True)
        return [DueDelivery(row[0], row[1], row[2], int(row[3]), int(row[4])) for row in rows]

    def settle(
        self, delivery: str, *, claim: str, state: DeliveryState, attempt: Attempt, wait_ms: int, retention_ms: int
    ) -> bool:
        """Write down an attempt. False: another keeper has taken the row in the meantime."""
        line = json.dumps(asdict(attempt), ensure_ascii=False)
        return self._scripts.call("settle_delivery", delivery, claim, state, line, wait_ms, retention_ms)[0] == "ok"

    def start_test(self, delivery: str, *, event: str, retention_ms: int) -> None:
        """A row without a job, for an event that only tries a receiver."""
        self._scripts.call("test_delivery", delivery, event, retention_ms)

    def ledger(self, delivery: str) -> tuple[dict[str, str], list[Attempt]]:
        """A row and its attempts; both empty when there is no such row (any more)."""
        with answers():
            row = cast("dict[str, str]", self._redis.hgetall(f"delivery:{delivery}"))
            lines = cast("list[str]", self._redis.lrange(f"delivery:{delivery}:attempts", 0, -1))
        return row, [Attempt(**json.loads(line)) for line in lines]
