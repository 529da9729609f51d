"""Spreads the requests of an API key evenly while other tenants send requests, too.

The rate limit lets a key send the requests of ten seconds at once. The jobs of such a burst would take the processors
of a small machine from other tenants' jobs for some seconds. So a request beyond a small burst waits until it is due at
the key's own rate (GCRA, the algorithm of ATM's traffic shaping). Nothing is refused, and no request waits for long.
"""

import asyncio

from api.middleware.fairness.active_tenants import ActiveTenants

BURST_S = 0.5
"""A key may be ahead of its rate by this much."""
MAX_DELAY_S = 5.0
MAX_INTERVAL_S = 0.1
"""Ten requests per second are never delayed, however low the limit is."""
POST_TURNS = 2
"""A POST counts as this many requests: nearly all start or change jobs, which costs much more than reading."""
MAX_KEYS = 10_000
"""Beyond it, keys that are not ahead of their rates are forgotten."""


class RequestPacer:
    """Delays requests of one process, by key. To be used from one event loop."""

    def __init__(self) -> None:
        self._tenants = ActiveTenants()
        self._due: dict[str, float] = {}
        """When the next request of a key is due at its rate, in the event loop's time."""

    async def pace(self, tenant: str, key_id: str, interval_s: float, *, method: str) -> None:
        """Return when a request may begin; see ``delay_s``."""
        delay_s = self.delay_s(tenant, key_id, interval_s, asyncio.get_running_loop().time(), method=method)
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    def delay_s(self, tenant: str, key_id: str, interval_s: float, now: float, *, method: str = "GET") -> float:
        """Count a request, and return how long it waits.

        Args:
            interval_s: between two requests at the key's limit.
            now: seconds on any clock that does not go back.
        """
        self._tenants.note(tenant, now)
        if len(self._due) >= MAX_KEYS:
            self._due = {key: due for key, due in self._due.items() if due > now}
        turns = POST_TURNS if method == "POST" else 1
        due = max(now, self._due.get(key_id, now)) + min(turns * interval_s, MAX_INTERVAL_S)
        self._due[key_id] = min(due, now + BURST_S + MAX_DELAY_S)
        if not self._tenants.is_another_active(tenant, now):
            return 0.0
        return min(max(0.0, due - now - BURST_S), MAX_DELAY_S)
