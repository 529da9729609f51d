"""Shares a limited number of slots fairly between tenants: of decoders, of fetches, of connections to one host."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

POLL_S = 0.1

MayTake = Callable[[int, int], bool]
"""Given the slots that a tenant has and the slots that all tenants have: whether the tenant may take another one."""


def no_more_than_remain_free(capacity: int) -> MayTake:
    """Return the rule that a tenant has at most as many slots as remain free.

    One tenant has at most half of the slots, two have a third each: there is always a slot for the next tenant
    (dynamic thresholds; Choudhury and Hahne, 1998).
    """
    return lambda own, total: own < max(1, capacity - total) and total < capacity


def reserve_for_others(capacity: int, reserve: int) -> MayTake:
    """Return the rule that one tenant may take all ``capacity`` slots; ``reserve`` more are for tenants without one."""
    return lambda own, total: total < capacity or (own == 0 and total < capacity + reserve)


@dataclass(eq=False, slots=True)
class _Ticket:
    """A request for a slot."""

    tenant: str
    granted: "Future[None]" = field(default_factory=Future)


class FairSlots:
    """A free slot goes to the waiting tenant with the fewest slots, and to its oldest request.

    Safe to share between threads, also with an event loop.
    """

    def __init__(self, may_take: MayTake) -> None:
        self._may_take = may_take
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._waiting: list[_Ticket] = []
        """The oldest first."""

    @property
    def is_unused(self) -> bool:
        with self._lock:
            return not self._held and not self._waiting

    @contextmanager
    def slot(self, tenant: str, check: Callable[[], None]) -> Iterator[float]:
        """Hold a slot inside the block; yields how long the tenant waited for it, in seconds.

        Args:
            check: called while the tenant waits; its exception ends the waiting.
        """
        started, ticket = time.monotonic(), self.request(tenant)
        try:
            while not ticket.granted.done():
                check()
                try:
                    ticket.granted.result(POLL_S)
                except TimeoutError:
                    continue
            yield time.monotonic() - started
        finally:
            self.release(ticket)

    def request(self, tenant: str) -> _Ticket:
        """Request a slot: ``granted`` of the ticket is done when the tenant has it. Must be released in either case."""
        ticket = _Ticket(tenant)
        with self._lock:
            self._waiting.append(ticket)
            self._grant()
        return ticket

    def release(self, ticket: _Ticket) -> None:
        """Return a slot, or withdraw the request."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return
            self._held[ticket.tenant] -= 1
            self._held += Counter()  # drops tenants without slots
            self._grant()

    def _grant(self) -> None:
        while self._waiting:
            ticket = min(self._waiting, key=lambda waiting: self._held[waiting.tenant])
            if not self._may_take(self._held[ticket.tenant], self._held.total()):
                return
            self._waiting.remove(ticket)
            self._held[ticket.tenant] += 1
            ticket.granted.set_result(None)
