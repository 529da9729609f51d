"""Daily usage of a tenant. ``finish.lua`` counts each job once."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import cast

import redis

from jobs.model.job import TERMINAL
from jobs.model.usage import DayUsage, Usage
from jobs.table import keys
from jobs.table.scripts import translate_redis_errors


class UsageLedger:
    """Reads a tenant's usage. Safe to share between threads."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def days(self, tenant: str, *, first: date, last: date) -> list[DayUsage]:
        """Return the days on which a job ended, oldest first. Raises StoreUnavailable."""
        days = [first + timedelta(days=step) for step in range((last - first).days + 1)]
        with translate_redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            for day in days:
                pipe.hgetall(keys.usage(tenant, keys.usage_day(day)))
            rows = cast("list[dict[str, str]]", pipe.execute())
        return [_day(day, row) for day, row in zip(days, rows, strict=True) if row]


def _day(day: date, row: Mapping[str, str]) -> DayUsage:
    amounts = {name: int(row.get(name, 0)) for name in ("input_tokens", "thinking_tokens", "answer_tokens", "gpu_ms")}
    return DayUsage(day, {status.value: int(row.get(status, 0)) for status in sorted(TERMINAL)}, Usage(**amounts))
