"""How much a tenant may use in a day or a month, and how much it has used."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from jobs.errors import QuotaExceeded
from jobs.model.usage import DayUsage, today
from jobs.table.reports.usage import UsageLedger
from jobs.tenants.api_key import QUOTAS, ApiKey

GPU_MS_PER_HOUR = 3_600_000
MAX_RETRY_AFTER_S = 60
"""Of every 429; the message has the time at which the quota is free again."""


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A quota of a key, and what its tenant has used of it."""

    name: str
    """One of ``QUOTAS``."""
    limit: float
    used: float
    resets_at: datetime
    """UTC; the start of the next day or month."""


class TenantQuotas:
    """Compares usage with quotas. Safe to share between threads; every method raises StoreUnavailable.

    Usage counts when a job ends, so a tenant can exceed a quota by what its open jobs use.
    """

    def __init__(self, usage: UsageLedger) -> None:
        self._usage = usage

    def states(self, key: ApiKey) -> list[QuotaState]:
        """Return the quotas of a key; none, without a call to Redis, if it has none."""
        limits = {name: float(getattr(key, name)) for name in QUOTAS if getattr(key, name)}
        if not limits:
            return []
        now = today()
        first = now.replace(day=1) if any(name.endswith("_month") for name in limits) else now
        days = self._usage.days(key.tenant, first=first, last=now)
        return [_state(name, limit, days, now) for name, limit in limits.items()]

    def require(self, key: ApiKey) -> None:
        """Raise QuotaExceeded if one of the key's quotas is used up."""
        spent = [state for state in self.states(key) if state.used >= state.limit]
        if not spent:
            return
        last = max(spent, key=lambda state: state.resets_at)
        wait_s = (last.resets_at - datetime.now(UTC)).total_seconds()
        raise QuotaExceeded(
            f"{last.name} of your API key is used up: {last.used:.10g} of {last.limit:.10g}. It is free again at "
            f"{last.resets_at:%Y-%m-%dT%H:%M:%SZ}; or ask the operator for a higher quota.",
            retry_after_s=min(MAX_RETRY_AFTER_S, max(1, int(wait_s) + 1)),
        )


def _state(name: str, limit: float, days: list[DayUsage], now: date) -> QuotaState:
    is_month = name.endswith("_month")
    used = [day.usage for day in days if is_month or day.day == now]
    if name.startswith("tokens"):
        amount: float = sum(each.input_tokens + each.thinking_tokens + each.answer_tokens for each in used)
    else:
        amount = sum(each.gpu_ms for each in used) / GPU_MS_PER_HOUR
    end = (now.replace(day=1) + timedelta(days=32)).replace(day=1) if is_month else now + timedelta(days=1)
    return QuotaState(name, limit, amount, datetime.combine(end, time(), UTC))
