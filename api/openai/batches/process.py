"""Starts the process that runs batches while there are batches that have not ended."""

import asyncio
from contextlib import suppress

import structlog
from starlette.concurrency import run_in_threadpool

from jobs.errors import NotInitialized, Unavailable
from jobs.table.batches import BatchLedger
from jobs.table.scripts import connect
from runtime.process.child import run_child
from runtime.settings import Settings

log = structlog.get_logger(__name__)

CHECK_INTERVAL_S = 1.0
RESTART_PAUSE_S = 2.0


class BatchProcess:
    """Belongs to the event loop of the api process. The process that it starts ends when no batch is left."""

    def __init__(self, settings: Settings) -> None:
        self._ledger = BatchLedger(connect(settings))
        self._supervision: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._supervision = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """End the process; another api process, or the next one, takes its batches over."""
        if self._supervision:
            self._supervision.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervision

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            try:
                if not await run_in_threadpool(self._ledger.list_open, limit=1):
                    continue
                if status := await run_child("api.run_batches"):
                    await _pause(status)
            except (Unavailable, NotInitialized):
                continue
            except OSError as error:
                await _pause(str(error))


async def _pause(status: object) -> None:
    """Log the end of the process, and wait before the next one is started."""
    log.error("batches.process_ended", status=status)
    await asyncio.sleep(RESTART_PAUSE_S)
