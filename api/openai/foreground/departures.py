"""Cancels the jobs of calls whose clients have left."""

import asyncio

import structlog
from starlette.concurrency import run_in_threadpool

from api.openai.foreground.call import ForegroundCall
from jobs.errors import NotFound, NotInitialized, Unavailable
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.table.followers import Followers

log = structlog.get_logger(__name__)

MAX_DEPARTURES = 10_000
"""Jobs that wait for their cancellation; the jobs of further clients run to their end."""
TRIES = 5
RETRY_INTERVAL_S = 2.0


class Departures:
    """Remembers the calls whose clients have left. Belongs to one event loop.

    A client library that lost its connection sends its request again within seconds. It finds its job if that still
    runs, so a job is cancelled only after a grace period in which no other call has taken over.
    """

    def __init__(self, followers: Followers, finalizer: JobFinalizer, *, grace_s: float) -> None:
        self._followers = followers
        self._finalizer = finalizer
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, call: ForegroundCall) -> None:
        """Cancel a call's job after the grace period, unless another call waits for it by then."""
        if len(self._tasks) >= MAX_DEPARTURES:
            log.warning("departure.not_followed", job_id=call.job.id)
            return
        task = asyncio.create_task(self._cancel_later(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Forget all departures: the clients of a process that ends find their jobs through another one."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cancel_later(self, call: ForegroundCall) -> None:
        await asyncio.sleep(self._grace_s)
        for _ in range(TRIES):
            try:
                await run_in_threadpool(self._cancel, call)
            except (Unavailable, NotInitialized):
                await asyncio.sleep(RETRY_INTERVAL_S)
            except NotFound:
                return
            else:
                return
        log.warning("departure.not_cancelled", job_id=call.job.id)

    def _cancel(self, call: ForegroundCall) -> None:
        if not self._followers.is_replaced(call.job.id, call.id):
            log.info("departure.cancels", job_id=call.job.id)
            self._finalizer.cancel(call.job)
