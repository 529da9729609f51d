"""Shares a limited resource of the process between tenants: each has a limit, and they get it in turns."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Scope

from api.middleware.fairness.active_tenants import ACTIVE_S, ActiveTenants
from jobs.errors import Overloaded

NO_TENANT = ""


class FairShare:
    """A number of units that requests hold for some time. To be used from one event loop.

    A request that finds no free unit waits. Free units go to the tenants in turns, and to the requests of a tenant in
    the order of their arrival. A request that may hold more than its tenant's limit alone waits for all of them.
    """

    def __init__(
        self,
        total: int,
        *,
        per_tenant: int,
        max_waiting: int,
        limit_s: float,
        refusal: Callable[[], Overloaded],
        beside_others: int | None = None,
        active_s: float = ACTIVE_S,
    ) -> None:
        """Create a share of which nothing is held.

        Args:
            total: units of all tenants.
            per_tenant: units of one tenant.
            max_waiting: requests of one tenant that wait at the same time.
            limit_s: how long a request waits.
            refusal: creates the error of a request that waits too long, or that finds too many others waiting.
            beside_others: units of one tenant while another one is active; default: ``per_tenant``.
            active_s: how long a tenant counts as active after a request.
        """
        self._free = total
        self._per_tenant = min(total, per_tenant)
        self._beside_others = min(self._per_tenant, beside_others or self._per_tenant)
        self._tenants = ActiveTenants(active_s)
        self._max_waiting = max_waiting
        self._limit_s = limit_s
        self._refusal = refusal
        self._held: defaultdict[str, int] = defaultdict(int)
        self._waiting: dict[str, deque[tuple[asyncio.Future[None], int]]] = {}
        """By tenant; the tenant whose turn it is comes first."""

    @asynccontextmanager
    async def hold(self, tenant: str, units: int = 1) -> AsyncIterator[None]:
        """Hold units while the block runs. Raises the refusal."""
        units = await self.acquire(tenant, units)
        try:
            yield
        finally:
            self.release(tenant, units)

    def held_by(self, tenant: str) -> int:
        """Return the units that a tenant holds."""
        return self._held.get(tenant, 0)

    async def acquire(self, tenant: str, units: int = 1) -> int:
        """Wait for units, and return how many the caller must release: at most the tenant's limit."""
        units = min(units, self._per_tenant)
        self._tenants.note(tenant, self._now)
        if tenant not in self._waiting and self._fits(tenant, units):
            self._take(tenant, units)
            return units
        if len(self._waiting.get(tenant, ())) >= self._max_waiting:
            raise self._refusal()
        queue = self._waiting.setdefault(tenant, deque())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append((turn, units))
        try:
            await asyncio.wait_for(turn, self._limit_s)
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(tenant, units)
            else:
                self._leave(tenant, turn)
            if isinstance(error, TimeoutError):
                raise self._refusal() from None
            raise
        return units

    def release(self, tenant: str, units: int) -> None:
        """Return units, and hand them to waiting requests."""
        self._free += units
        self._held[tenant] -= units
        if not self._held[tenant]:
            del self._held[tenant]
        self._serve()

    def _fits(self, tenant: str, units: int) -> bool:
        held = self._held.get(tenant, 0)
        if held + units > self._per_tenant or units > self._free:
            return False
        return held + units <= self._beside_others or not (held and self._tenants.is_another_active(tenant, self._now))

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _take(self, tenant: str, units: int) -> None:
        self._free -= units
        self._held[tenant] += units

    def _serve(self) -> None:
        """Give free units to one request of each tenant in turn until none fits."""
        passed = 0
        while passed < len(self._waiting):
            tenant, queue = next(iter(self._waiting.items()))
            del self._waiting[tenant]
            turn, units = queue[0]
            if turn.done():  # its request has just given up
                queue.popleft()
            elif self._fits(tenant, units):
                queue.popleft()
                self._take(tenant, units)
                turn.set_result(None)
                passed = 0
            else:
                passed += 1
            if queue:
                self._waiting[tenant] = queue

    def _leave(self, tenant: str, turn: "asyncio.Future[None]") -> None:
        queue = deque(entry for entry in self._waiting.get(tenant, ()) if entry[0] is not turn)
        if queue:
            self._waiting[tenant] = queue
        else:
            self._waiting.pop(tenant, None)
        self._serve()


def tenant_of(scope: Scope) -> str:
    """Return the tenant of a request that was authenticated."""
    caller: Any = scope.get("state", {}).get("caller")
    return str(caller.tenant) if caller else NO_TENANT
