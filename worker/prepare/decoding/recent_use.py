"""Remembers which tenants have used decoders a lot lately."""

import math
import threading
import time
from collections.abc import Callable

MEMORY_S = 10.0
"""A use that long ago counts 1/e."""
MANY_SECONDS = 2.0
"""An image takes 0.02 to 0.2 s, the largest about 3 s."""
FORGOTTEN_S = 0.01


class RecentUse:
    """Seconds of decoders by tenant, as a moving sum. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[str, tuple[float, float]] = {}
        """Seconds, and when they were right."""

    def add(self, tenant: str, seconds: float) -> None:
        """Count a use. Forgets tenants whose use was long ago."""
        with self._lock:
            now = self._clock()
            self._used[tenant] = (self._remaining(tenant, now) + seconds, now)
            self._used = {name: use for name, use in self._used.items() if self._remaining(name, now) > FORGOTTEN_S}

    def is_heavy(self, tenant: str) -> bool:
        """Whether the tenant has used decoders a lot, and more than half as much as the tenant that used them most."""
        with self._lock:
            now = self._clock()
            most = max((self._remaining(name, now) for name in self._used), default=0.0)
            return self._remaining(tenant, now) > max(MANY_SECONDS, most / 2)

    def _remaining(self, tenant: str, now: float) -> float:
        seconds, then = self._used.get(tenant, (0.0, now))
        return seconds * math.exp((then - now) / MEMORY_S)
