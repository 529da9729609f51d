"""Limits concurrent requests per receiving host, so that a host that stalls delays only its own deliveries."""

import time
from dataclasses import dataclass

MAX_CONCURRENT_PER_HOST = 8
INITIAL_DURATION_S = 0.1
MIN_WAIT_S = 0.05
MAX_WAIT_S = 120.0


@dataclass(slots=True)
class _Host:
    running: int = 0
    duration_s: float = INITIAL_DURATION_S
    """Moving average of the duration of its requests."""
    booked_until: float = 0.0
    """When a slot is expected for the next request that waits, on the monotonic clock."""


class HostLimiter:
    """Gives each host ``MAX_CONCURRENT_PER_HOST`` slots. Use it from one event loop.

    A caller that gets no slot gets the time for its retry. Each such caller gets a later time than the one before it,
    so the backlog of a busy host is sent as fast as the host responds, and a stalled host costs few retries.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def acquire(self, name: str) -> float:
        """Take a slot of a host, if one is free.

        Returns:
            0: the slot is taken until ``release``. Otherwise the seconds until the caller should retry.
        """
        host = self._hosts.setdefault(name, _Host())
        if host.running < MAX_CONCURRENT_PER_HOST:
            host.running += 1
            return 0.0
        now = time.monotonic()
        host.booked_until = max(now, host.booked_until) + host.duration_s / MAX_CONCURRENT_PER_HOST
        return min(max(host.booked_until - now, MIN_WAIT_S), MAX_WAIT_S)

    def release(self, name: str, *, duration_s: float) -> None:
        """Free a slot.

        Args:
            duration_s: how long the request took.
        """
        host = self._hosts[name]
        host.running -= 1
        host.duration_s = (host.duration_s + duration_s) / 2
        if not host.running:
            del self._hosts[name]
