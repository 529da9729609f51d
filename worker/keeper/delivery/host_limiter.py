"""Receivers' hosts: so many requests at once for each, so that one that stalls holds up only itself."""

import time
from dataclasses import dataclass

PER_HOST = 8
FIRST_GUESS_S = 0.1
SOONEST_S = 0.05
LONGEST_S = 120.0


@dataclass(slots=True)
class _Host:
    running: int = 0
    takes_s: float = FIRST_GUESS_S
    """How long it takes for a request, lately."""
    booked_until: float = 0.0
    """When the next request is expected to find room, on the monotonic clock."""


class HostLimiter:
    """For one event loop. Who finds no room is told when to come again: behind all who were told so before.

    A busy host's backlog is served as fast as it answers; a stalled one's costs little more than a look now and then.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def enter(self, name: str) -> float:
        """0: there is room, and it is taken until ``leave``. Otherwise seconds until to come again."""
        host = self._hosts.setdefault(name, _Host())
        if host.running < PER_HOST:
            host.running += 1
            return 0.0
        now = time.monotonic()
        host.booked_until = max(now, host.booked_until) + host.takes_s / PER_HOST
        return min(max(host.booked_until - now, SOONEST_S), LONGEST_S)

    def leave(self, name: str, *, took_s: float) -> None:
        host = self._hosts[name]
        host.running -= 1
        host.takes_s = (host.takes_s + took_s) / 2
        if not host.running:
            del self._hosts[name]
