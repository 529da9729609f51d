"""Room below the limits, asked for in advance: a process far from a limit need not ask Redis before each job."""

import threading
import time

SHARES = 16
"""A process takes a sixteenth of the room that there is: as many processes may do so, and no limit is passed."""
LIFETIME_S = 0.25
TENANTS = 10_000


class AdmissionQuota:
    """Jobs that this process may still take in, by tenant. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, tuple[int, float]] = {}

    def grant(self, tenant: str, room: int) -> None:
        """``room``: jobs up to the nearest limit, as the table has just counted them."""
        with self._lock:
            if len(self._left) >= TENANTS:
                self._left.clear()
            self._left[tenant] = (room // SHARES, time.monotonic() + LIFETIME_S)

    def spend(self, tenant: str) -> bool:
        """Take one. False: none is left, ask again."""
        with self._lock:
            left, ends = self._left.get(tenant, (0, 0.0))
            if left < 1 or time.monotonic() >= ends:
                return False
            self._left[tenant] = (left - 1, ends)
            return True
