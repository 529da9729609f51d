"""Streams the numbered events of a response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import structlog
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.openai.responses.events.ended import ended_frames
from api.openai.responses.events.projection import EventProjection, ResponseEvent
from api.streaming.event_hub import StreamEvent, Subscription
from jobs.errors import NotFound, NotInitialized, Overloaded, Unavailable
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job

EVENTS_PER_PIECE = 400
TRIES = 5
RETRY_INTERVAL_S = 1.0
"""How often a stream reads the result of an ended job while Redis or the object store does not answer. Then it ends
without its last event, and the client can resume it."""
FROM_THE_BEGINNING = -1

log = structlog.get_logger(__name__)


class ResponseStream:
    """Turns the event stream of one job into the events of one call, which may begin after any of them."""

    def __init__(self, job: Job, request: JobRequest, service: Services, *, after: int = FROM_THE_BEGINNING) -> None:
        """
        Args:
            after: number of the last event that the client has; -1: it has none.
        """
        self._job = job
        self._request = request
        self._service = service
        self._after = after
        self._projection = EventProjection(request)
        self.has_ended = False
        """The job has ended."""

    async def follow(self, subscription: Subscription, pause_s: Callable[[], float]) -> AsyncIterator[bytes]:
        """Yield the events of a job that may still run.

        Args:
            subscription: to all events of the job, from the first on.
            pause_s: returns how long to collect further events after sending some.
        """
        if frames := self._take(self._projection.begin()):
            yield frames
        async for batch in subscription.batches():
            if frames := self._add([item for item in batch if isinstance(item, StreamEvent)]):
                yield frames
            if self.has_ended:
                break
            await asyncio.sleep(pause_s())
        # The last events need the result. Without an end, the stream has left Redis, or this client reads too slowly.
        for piece in await self._read_until_ended(self._last_piece if self.has_ended else self._missing_pieces):
            yield piece

    async def replay(self) -> AsyncIterator[bytes]:
        """Yield the events of a job that has ended."""
        self.has_ended = True
        for piece in await self._read_until_ended(self._missing_pieces):
            yield piece

    def _add(self, items: Sequence[StreamEvent]) -> bytes:
        frames = b""
        for item in items:
            self.has_ended = self.has_ended or item.event.type == "ended"
            frames += self._take(self._projection.add(item.event))
        return frames

    def _take(self, events: Sequence[ResponseEvent]) -> bytes:
        """Return those events that the client does not have."""
        new = [event for event in events if event.number > self._after]
        if new:
            self._after = new[-1].number
        return b"".join(event.to_frame() for event in new)

    async def _read_until_ended(self, read: Callable[[Job], Awaitable[list[bytes]]]) -> list[bytes]:
        """Return the events that the client does not have of a job that has ended; none if it has not."""
        for _ in range(TRIES):
            try:
                job = await run_in_threadpool(self._find_job)
                if not job.status.is_terminal:
                    break
                self.has_ended = True
                return await read(job)
            except NotFound:
                break  # it was deleted
            except (NotInitialized, Unavailable, Overloaded):
                await asyncio.sleep(RETRY_INTERVAL_S)
        log.info("stream.ended_early", job_id=self._job.id)
        return []

    async def _last_piece(self, job: Job) -> list[bytes]:
        """Return the last events, after all others were added."""
        result = await run_in_threadpool(self._service.documents.result, job)
        return [self._take(self._projection.end(result))] if result else []

    async def _missing_pieces(self, job: Job) -> list[bytes]:
        frames = (await ended_frames(self._service, job, self._request))[self._after + 1 :]
        starts = range(0, len(frames), EVENTS_PER_PIECE)
        return [b"".join(frames[start : start + EVENTS_PER_PIECE]) for start in starts]

    def _find_job(self) -> Job:
        service = self._service
        return find_job(service.store, self._job.id, tenant=self._job.tenant, ended_jobs=service.ended_jobs)
