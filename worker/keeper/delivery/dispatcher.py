"""Takes due deliveries from the job table and runs their attempts concurrently."""

import asyncio
from collections.abc import Coroutine

import structlog

from jobs.errors import NotInitialized, Overloaded, Unavailable
from jobs.model.job import new_claim
from jobs.table.deliveries import DeliveryStore, DueDelivery
from worker.keeper.delivery.deliverer import Deliverer

log = structlog.get_logger(__name__)

MAX_CONCURRENT_DELIVERIES = 64


class DeliveryDispatcher:
    """Runs up to ``MAX_CONCURRENT_DELIVERIES`` attempts. Use it from one event loop."""

    def __init__(self, deliveries: DeliveryStore, deliverer: Deliverer) -> None:
        self._deliveries = deliveries
        self._deliverer = deliverer
        self._running: set[asyncio.Task[None]] = set()

    async def dispatch_due(self) -> None:
        """Take due deliveries while there is capacity, and start an attempt for each."""
        while (free := MAX_CONCURRENT_DELIVERIES - len(self._running)) > 0:
            claim = new_claim()
            taken = await asyncio.to_thread(self._deliveries.claim_due, claim=claim, limit=free)
            for due in taken:
                task = asyncio.create_task(self._attempt(due, claim))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if len(taken) < free:
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
