"""Reserves a part of the free capacity for this process, so that it need not ask Redis before each job.

Redis is asked before each job only when the queue is close to a limit.
"""

import threading
import time

SHARES = 16
"""A process reserves a sixteenth of the free capacity: up to 16 processes can do so without exceeding a limit."""
LIFETIME_S = 0.25
MAX_TENANTS = 10_000


class AdmissionQuota:
    """The jobs that this process may accept without asking Redis, by tenant. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, tuple[int, float]] = {}

    def grant(self, tenant: str, free_jobs: int) -> None:
        """Reserve a share of ``free_jobs``, the jobs up to the nearest limit as Redis has just counted them."""
        with self._lock:
            if len(self._left) >= MAX_TENANTS:
                self._left.clear()
            self._left[tenant] = (free_jobs // SHARES, time.monotonic() + LIFETIME_S)

    def spend(self, tenant: str) -> bool:
        """Use up one job. Return False when none is left: ask Redis."""
        with self._lock:
            left, expires_at = self._left.get(tenant, (0, 0.0))
            if left < 1 or time.monotonic() >= expires_at:
                return False
            self._left[tenant] = (left - 1, expires_at)
            return True
