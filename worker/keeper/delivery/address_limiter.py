"""Limits concurrent requests per receiving address, so that a receiver that stalls delays only its own deliveries.

Addresses are counted, not host names: one wildcard record gives any number of names to one server. The limit is per
tenant, so that a tenant whose requests fill an address does not delay another tenant's requests to it.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

MAX_PER_TENANT = 8
"""Requests of one tenant to one address."""
MAX_PER_ADDRESS = 64
"""Requests of all tenants to one address. A tenant without a request gets a slot even beyond this."""
INITIAL_DURATION_S = 0.1
MIN_WAIT_S = 0.05
MAX_WAIT_S = 120.0


@dataclass(slots=True)
class _Slots:
    """The requests of one tenant to one address."""

    running: int = 0
    duration_s: float = INITIAL_DURATION_S
    """Moving average of the duration of its requests."""
    booked_until: float = 0.0
    """When a slot is expected for the next request that waits, on the monotonic clock."""


class AddressLimiter:
    """Gives slots for requests. Use it from one event loop.

    A caller that gets no slot gets the time for its retry. Each such caller gets a later time than the one before it,
    so the backlog of a busy receiver is sent as fast as it responds, and a stalled receiver costs few retries.
    """

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], _Slots] = {}
        self._per_address: Counter[str] = Counter()

    def acquire(self, tenant: str, addresses: Sequence[str]) -> float:
        """Take a slot of each address of a host, if all have one.

        Returns:
            0: the slots are taken until ``release``. Otherwise the seconds until the caller should retry.
        """
        places = _places(addresses)
        full = [place for place in places if not self._is_free(tenant, place)]
        if not full:
            for place in places:
                self._slots.setdefault((tenant, place), _Slots()).running += 1
                self._per_address[place] += 1
            return 0.0
        now, waits = time.monotonic(), [MIN_WAIT_S]
        for place in full:
            slots = self._slots[tenant, place]
            slots.booked_until = max(now, slots.booked_until) + slots.duration_s / MAX_PER_TENANT
            waits.append(slots.booked_until - now)
        return min(max(waits), MAX_WAIT_S)

    def release(self, tenant: str, addresses: Sequence[str], *, duration_s: float) -> None:
        """Free the slots.

        Args:
            duration_s: how long the request took.
        """
        for place in _places(addresses):
            slots = self._slots[tenant, place]
            slots.running -= 1
            slots.duration_s = (slots.duration_s + duration_s) / 2
            self._per_address[place] -= 1
            if not slots.running:
                del self._slots[tenant, place]
            if not self._per_address[place]:
                del self._per_address[place]

    def _is_free(self, tenant: str, place: str) -> bool:
        slots = self._slots.get((tenant, place))
        return slots is None or (slots.running < MAX_PER_TENANT and self._per_address[place] < MAX_PER_ADDRESS)


def _places(addresses: Sequence[str]) -> list[str]:
    """Return what is counted: IPv4 addresses, and the /64 of IPv6 addresses, all of which one server may have."""
    return list(dict.fromkeys(_place(address) for address in addresses))


def _place(address: str) -> str:
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return address
