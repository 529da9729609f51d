"""Takes due deliveries from the job table and runs their attempts concurrently."""

import asyncio
from collections import Counter
from collections.abc import Coroutine

import structlog

from jobs.errors import NotInitialized, Overloaded, Unavailable
from jobs.model.job import new_claim
from jobs.table.deliveries import DeliveryStore, DueDelivery
from worker.keeper.delivery.deliverer import Deliverer

log = structlog.get_logger(__name__)

MAX_CONCURRENT_DELIVERIES = 256
MAX_PER_TENANT = 64
RESERVED_DELIVERIES = 64
"""The last free places go to tenants with fewer than ``RESERVED_PER_TENANT`` attempts only."""
RESERVED_PER_TENANT = 4
MAX_THREADS = 64
"""Threads for short calls of the object store and Redis. An attempt waits for its receiver without one."""


class DeliveryDispatcher:
    """Runs up to ``MAX_CONCURRENT_DELIVERIES`` attempts, a share of them for one tenant. Use it from one event loop.

    An attempt takes up to ``WEBHOOK_TIMEOUT_S`` if its receiver stalls. The shares keep such attempts of one tenant
    from delaying another tenant's.
    """

    def __init__(self, deliveries: DeliveryStore, deliverer: Deliverer) -> None:
        self._deliveries = deliveries
        self._deliverer = deliverer
        self._running: dict[asyncio.Task[None], str] = {}
        """Attempts with their tenants."""

    async def dispatch_due(self) -> None:
        """Take due deliveries while there is capacity, and start an attempt for each."""
        while (free := MAX_CONCURRENT_DELIVERIES - len(self._running)) > 0:
            is_scarce = free <= RESERVED_DELIVERIES
            limit = free if is_scarce else free - RESERVED_DELIVERIES
            claim = new_claim()
            taken = await asyncio.to_thread(
                self._deliveries.claim_due,
                claim=claim,
                limit=limit,
                share=RESERVED_PER_TENANT if is_scarce else MAX_PER_TENANT,
                running=Counter(self._running.values()),
            )
            for due in taken:
                task = asyncio.create_task(self._attempt(due, claim))
                self._running[task] = due.tenant
                task.add_done_callback(self._running.pop)
            if len(taken) < limit:
                return

    async def drain(self, *, timeout_s: float) -> None:
        """Wait for the running attempts; cancel those that take longer, which releases their deliveries."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _attempt(self, due: DueDelivery, claim: str) -> None:
        try:
            await self._deliverer.deliver(due, claim=claim)
        except (Unavailable, NotInitialized, Overloaded) as error:
            log.warning("delivery.delayed", job_id=due.job_id, code=error.code)
            await self._settle_failure(self._deliverer.release(due, claim), due)
        except Exception as error:
            log.exception("delivery.crashed", job_id=due.job_id)
            await self._settle_failure(self._deliverer.record_crash(due, claim, error), due)

    async def _settle_failure(self, action: Coroutine[None, None, None], due: DueDelivery) -> None:
        try:
            await action
        except Exception as error:  # noqa: BLE001 - the claim expires, and claim_deliveries.lua counts it as an attempt
            log.warning("delivery.delayed", job_id=due.job_id, code=type(error).__name__)
