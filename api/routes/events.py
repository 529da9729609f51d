"""``GET /v1/jobs/{id}/events``: the progress of a job as server-sent events.

The id of an event is its sequence number in the stream, so ``Last-Event-ID`` resumes after any event, on any api
process, also after the job has ended. ``job.status`` describes the present: it has no id and is not repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.access.auth import bearer_auth, caller
from api.middleware.fairness.fair_share import FairShare
from api.streaming.event_frames import EventFrames
from api.streaming.event_hub import Subscription
from api.streaming.event_response import JobEventStream
from jobs.errors import Invalid, Problem
from jobs.lifecycle.lookup import find_job
from jobs.tenants.api_key import ApiKey

SEND_INTERVAL_S = 0.001
"""Each stream is sent to at most this often, multiplied by the tenant's open streams: a tenant with many of them gets
its events in fewer, larger pieces."""


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[bearer_auth], responses=ERROR_RESPONSES)

STREAM_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The stream: `job.status`, `job.started`, `thinking.delta`, `answer.delta`, and one of "
        "`job.completed`, `job.failed`, `job.cancelled`, `job.expired`, after which it ends.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 2\nevent: thinking.delta\ndata: {"text": "The bars", "thinking_tokens": 2, '
                '"budget_tokens": 2048}\n\n',
            }
        },
    },
    204: {"description": "The job has ended, and nothing follows the last event received: do not reconnect."},
}


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=STREAM_RESPONSE)
async def stream_events(
    job_id: Annotated[str, Path(description="Id of the job.")],
    key: Annotated[ApiKey, Depends(caller)],
    service: Annotated[Services, Depends(services)],
    request: Request,
    last_event_id: Annotated[str | None, Header(description="Id of the last event received.")] = None,
    after: Annotated[
        int | None,
        Query(ge=0, le=2**53, description="As `Last-Event-ID`, for clients that cannot set it. The header wins."),
    ] = None,
) -> Response:
    """Stream a job's events until it ends. Resume after the last event received with `Last-Event-ID` or `after`."""
    # A browser that reconnects repeats the URL, and sends the header of what it has received since.
    last = _parse_last_event_id(last_event_id)
    position = (after or 0) if last is None else last
    streams: FairShare = request.app.state.shares.streams
    release = partial(streams.release, key.tenant, await streams.acquire(key.tenant))
    try:
        job = await run_in_threadpool(find_job, service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
        job_request = await run_in_threadpool(service.documents.request, job)
        frames = EventFrames(job, job_request)

        def pause_s() -> float:
            return SEND_INTERVAL_S * streams.held_by(key.tenant)

        if not job.status.is_terminal:
            subscription = service.event_hub.subscribe(job.id, after=position)
            pieces = _paced(_live(frames, subscription), pause_s)
            return JobEventStream(pieces, _both(subscription, service, release))
        replay = await service.replays.read(job, frames, after=position)
        if replay:
            return JobEventStream(_paced(_each(replay), pause_s), release)
    except BaseException:
        release()
        raise
    release()
    return Response(status_code=HTTPStatus.NO_CONTENT)  # an EventSource reconnects after any other status


def _both(subscription: Subscription, service: Services, release: Callable[[], None]) -> Callable[[], None]:
    def end() -> None:
        service.event_hub.unsubscribe(subscription)
        release()

    return end


async def _live(frames: EventFrames, subscription: Subscription) -> AsyncIterator[bytes]:
    async for batch in subscription.batches():
        yield b"".join(map(frames.of_item, batch))


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _paced(pieces: AsyncIterator[bytes], pause_s: Callable[[], float]) -> AsyncIterator[bytes]:
    """Yield the pieces with a pause after each, in which further events are collected."""
    async for piece in pieces:
        yield piece
        await asyncio.sleep(pause_s())


def _parse_last_event_id(last_event_id: str | None) -> int | None:
    if last_event_id is None or not last_event_id.strip():
        return None
    if not (last_event_id.isdecimal() and last_event_id.isascii() and len(last_event_id) <= 15):
        raise Invalid(
            [
                Problem(
                    "header:Last-Event-ID",
                    "is not an event id of this stream; leave it out to start from the beginning",
                )
            ]
        )
    return int(last_event_id)
