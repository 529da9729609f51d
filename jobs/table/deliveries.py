"""Webhook deliveries: their rows, their schedule and the log of attempts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, cast

import redis

from jobs.errors import TooManyDeliveries
from jobs.model.documents.document_format import known_fields
from jobs.table import keys
from jobs.table.scripts import LuaScripts, translate_redis_errors

DELIVERY_CLAIM_MS = 60_000
"""Time a keeper has for one attempt before another keeper may claim the delivery."""

MAX_OPEN_DELIVERIES = 10_000
"""Of a tenant. While so many wait, none is repeated and no test event is sent; those of ended jobs are not refused. One
takes about 1 KiB of Redis, and its attempts up to 50 KiB."""

COPY_EVENT = "result.copy"
"""Event of deliveries that upload a copy of the result to a presigned URL. Their id is ``copy_<job>_<number>``."""

DeliveryState = Literal["delivered", "pending", "abandoned"]


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that a keeper has claimed for its next attempt."""

    id: str
    """For a webhook also the event id: ``evt_<job>_<status>``, the same for each attempt."""
    job_id: str
    """Empty for a test event."""
    tenant: str
    event: str
    attempts: int
    """So far; a claim that a keeper lost counts as one."""
    age_ms: int
    delayed: bool = False
    """Its first attempt is late for a reason outside of the keeper: its receiver, a recovery, a redelivery."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt, as the log has it."""

    at: str
    """See ``jobs.model.times``."""
    status: int | None
    """HTTP status; None: there was no response."""
    error: str | None
    latency_ms: int
    reply: str
    """The first bytes of the response; empty if the receiver's address is not public."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery with its state and attempts."""

    id: str
    job_id: str
    event: str
    state: DeliveryState
    attempts: list[DeliveryAttempt]


class DeliveryStore:
    """Reads and changes deliveries. Safe to share between threads; every method raises StoreUnavailable."""

    def __init__(self, client: "redis.Redis", *, max_open: int = MAX_OPEN_DELIVERIES) -> None:
        """
        Args:
            max_open: deliveries of a tenant that may wait when another one is asked for.
        """
        self._max_open = max_open
        self._redis = client
        self._scripts = LuaScripts(client)

    def claim_due(
        self, *, claim: str, limit: int, share: int | None = None, running: Mapping[str, int] | None = None
    ) -> list[DueDelivery]:
        """Claim due deliveries for one minute, in turns of one for each tenant.

        Args:
            share: the largest number of attempts of one tenant, including ``running``; None: ``limit``.
            running: attempts of each tenant that the caller runs already.
        """
        pairs = [item for pair in (running or {}).items() for item in pair]
        arguments = (claim, limit, DELIVERY_CLAIM_MS, limit if share is None else share, *pairs)
        items = self._scripts.call("claim_deliveries", *arguments)[1:]
        rows = zip(*[iter(items)] * 7, strict=True)
        return [DueDelivery(row[0], row[1], row[2], row[3], int(row[4]), int(row[5]), row[6] != "") for row in rows]

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
        """Record an attempt. False: another keeper has claimed the delivery meanwhile.

        Args:
            state: ``pending`` schedules another attempt after ``wait_ms``.
            retention_ms: how long a settled delivery and its attempts are kept.
        """
        arguments = (delivery, claim, state, _to_line(attempt), wait_ms, retention_ms)
        return self._scripts.call("settle_delivery", *arguments)[0] == "ok"

    def postpone(self, delivery: str, *, claim: str, wait_ms: int, receiver_is_busy: bool = False) -> None:
        """Release a claimed delivery without an attempt."""
        self._scripts.call("postpone_delivery", delivery, claim, wait_ms, int(receiver_is_busy))

    def redeliver(self, delivery: str) -> bool:
        """Make a delivery due now, whatever its state. False: it has no row.

        Raises:
            TooManyDeliveries
        """
        return self._call_bounded("redeliver", delivery, self._max_open)

    def redeliver_settled(self, delivery: Delivery, *, tenant: str, retention_ms: int) -> bool:
        """Make a settled delivery due now whose row has left Redis. False: its job was deleted.

        Args:
            retention_ms: how long the row may be found by its job.

        Raises:
            TooManyDeliveries
        """
        row = (delivery.job_id, tenant, delivery.event, retention_ms)
        lines = map(_to_line, delivery.attempts)
        return self._call_bounded("redeliver", delivery.id, self._max_open, *row, *lines)

    def restore_attempts(self, delivery: str, attempts: Sequence[DeliveryAttempt], *, retention_ms: int) -> None:
        """Restore the attempts of a delivery that was settled before its table was lost."""
        self._scripts.call("restore_attempts", delivery, retention_ms, *map(_to_line, attempts))

    def create_test(self, delivery: str, *, tenant: str, event: str, retention_ms: int) -> None:
        """Create a delivery without a job, for an event that tests a receiver. Raises TooManyDeliveries."""
        self._call_bounded("create_test_delivery", delivery, event, retention_ms, tenant, self._max_open)

    def get(self, delivery: str) -> Delivery | None:
        """Return a delivery with all its attempts."""
        with translate_redis_errors():
            row = cast("dict[str, str]", self._redis.hgetall(keys.delivery(delivery)))
            lines = cast("list[str]", self._redis.lrange(keys.delivery_attempts(delivery), 0, -1))
        if not row:
            return None
        attempts = [DeliveryAttempt(**known_fields(DeliveryAttempt, json.loads(line))) for line in lines]
        return Delivery(delivery, row["job"], row["event"], cast("DeliveryState", row["state"]), attempts)

    def list_for_job(self, job_id: str) -> list[Delivery]:
        """Return a job's deliveries, copies of its result first."""
        with translate_redis_errors():
            ids = cast("list[str]", self._redis.lrange(keys.job_deliveries(job_id), 0, -1))
        return [found for delivery in ids if (found := self.get(delivery))]

    def _call_bounded(self, script: str, *arguments: str | float) -> bool:
        """Call a script that refuses while too many of the tenant's deliveries wait."""
        reply = self._scripts.call(script, *arguments)
        if reply[0] == "too_many":
            raise TooManyDeliveries(
                f"{reply[1]} of your deliveries wait to be sent; the limit is {self._max_open}. Try again later."
            )
        return reply[0] == "ok"


def _to_line(attempt: DeliveryAttempt) -> str:
    return json.dumps(asdict(attempt), ensure_ascii=False)
