"""What was used: by one job, and by a tenant on one day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import cast

import redis

from jobs.model.job import TERMINAL
from jobs.table.scripts import translate_redis_errors

USAGE_RETENTION_MS = 400 * 24 * 3600 * 1000
EPOCH_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    gpu_ms: int = 0

    @classmethod
    def from_result(cls, usage: Mapping[str, float]) -> "Usage":
        """Out of a result's ``usage``, where GPU time stands in seconds."""
        tokens = {kind: int(usage.get(kind, 0)) for kind in ("input_tokens", "thinking_tokens", "answer_tokens")}
        return cls(**tokens, gpu_ms=round(usage.get("gpu_seconds", 0) * 1000))


@dataclass(frozen=True, slots=True)
class DayUsage:
    day: date
    """UTC, by the end of a job."""
    jobs: dict[str, int]
    """By terminal status."""
    usage: Usage


class UsageLedger:
    """Counted by finish.lua, once a job."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def days(self, tenant: str, *, first: date, last: date) -> list[DayUsage]:
        """The days on which something ended, oldest first. Raises StoreUnavailable."""
        days = [first + timedelta(days=step) for step in range((last - first).days + 1)]
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for day in days:
                pipe.hgetall(f"usage:{tenant}:{(day - EPOCH_DAY).days}")
            rows = cast("list[dict[str, str]]", pipe.execute())
        return [_day(day, row) for day, row in zip(days, rows, strict=True) if row]


def today() -> date:
    return datetime.now(UTC).date()


def _day(day: date, row: Mapping[str, str]) -> DayUsage:
    amounts = {name: int(row.get(name, 0)) for name in ("input_tokens", "thinking_tokens", "answer_tokens", "gpu_ms")}
    return DayUsage(day, {status.value: int(row.get(status, 0)) for status in sorted(TERMINAL)}, Usage(**amounts))
