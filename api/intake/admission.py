"""Reserves a part of the free capacity for this process, so that it need not ask Redis before each job.

Redis is asked before each job only when the queue is close to a limit.
"""

import threading
import time

from jobs.table.intake.admission import RESERVE_BELOW

SHARES = 16
"""A process reserves a sixteenth of the free capacity: up to 16 processes can do so without exceeding a limit. The last
``RESERVE_BELOW`` jobs are for those that are being submitted: Redis does not count them yet."""
LIFETIME_S = 0.25
MAX_LIMITS = 10_000


class AdmissionQuota:
    """The jobs that this process may accept without asking Redis. Safe to share between threads.

    They are counted by tenant and limit: the keys of a tenant may have different limits on its open jobs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[tuple[str, int], tuple[int, float]] = {}

    def grant(self, tenant: str, max_open: int, free_jobs: int) -> None:
        """Reserve a share of ``free_jobs``, the jobs up to the nearest limit as Redis has just counted them."""
        with self._lock:
            if len(self._left) >= MAX_LIMITS:
                self._left.clear()
            self._left[tenant, max_open] = (max(0, free_jobs - RESERVE_BELOW) // SHARES, time.monotonic() + LIFETIME_S)

    def spend(self, tenant: str, max_open: int) -> bool:
        """Use up one job. Return False when none is left: ask Redis."""
        with self._lock:
            left, expires_at = self._left.get((tenant, max_open), (0, 0.0))
            if left < 1 or time.monotonic() >= expires_at:
                return False
            self._left[tenant, max_open] = (left - 1, expires_at)
            return True
