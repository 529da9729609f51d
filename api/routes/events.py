"""``GET /v1/jobs/{id}/events``: the progress of a job as server-sent events.

The id of an event is its sequence number in the stream, so ``Last-Event-ID`` resumes after any event, on any api
process, also after the job has ended. ``job.status`` describes the present: it has no id and is not repeated.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.auth import bearer_auth, caller
from api.middleware.fair_share import FairShare
from api.streaming.event_hub import JobState, StreamEvent, Subscription
from jobs.errors import Invalid, Problem
from jobs.lifecycle.lookup import find_job
from jobs.model.events import Event
from jobs.model.job import Job, JobStatus
from jobs.model.request import JobRequest
from jobs.tenants.api_keys import ApiKey

PING_INTERVAL_S = 15
SEND_TIMEOUT_S = 30.0
"""A client that reads nothing for this long is disconnected."""

SEND_INTERVAL_S = 0.001
"""Each stream is sent to at most this often, multiplied by the tenant's open streams: a tenant with many of them gets
its events in fewer, larger pieces."""
EVENTS_PER_CHUNK = 200

log = structlog.get_logger(__name__)


class JobEventStream(EventSourceResponse):
    """Ends without an error when a stalled client is disconnected; the socket's own timeout frees the connection."""

    def __init__(self, frames: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(frames, ping=PING_INTERVAL_S, send_timeout=SEND_TIMEOUT_S, headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("stream.disconnected", path=scope["path"])
        finally:
            # Here, not in the generator of the frames: a response that is cancelled early never starts it.
            self._on_end()


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
        frames = _Frames(job, job_request)
        if not job.status.is_terminal:
            subscription = service.event_hub.subscribe(job.id, after=position)

            def pause_s() -> float:
                return SEND_INTERVAL_S * streams.held_by(key.tenant)

            return JobEventStream(frames.follow(subscription, pause_s), _both(subscription, service, release))
        events = await run_in_threadpool(service.archive.read, job_id, after=position)
        if events:
            return JobEventStream(frames.replay(events), release)
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


class _Frames:
    """Turns the events and states of one job into server-sent events."""

    def __init__(self, job: Job, request: JobRequest) -> None:
        self._job = job
        self._budget = request.thinking_budget
        self._media = sum(part["type"] != "text" for message in request.messages for part in message["content"])

    async def replay(self, events: list[Event]) -> AsyncIterator[bytes]:
        for start in range(0, len(events), EVENTS_PER_CHUNK):
            chunk = events[start : start + EVENTS_PER_CHUNK]
            yield b"".join(_event_frame(self._job, event, self._budget) for event in chunk)

    async def follow(self, subscription: Subscription, pause_s: Callable[[], float]) -> AsyncIterator[bytes]:
        """Yield what the subscription receives.

        Args:
            pause_s: returns how long to collect further events after sending some.
        """
        async for batch in subscription.batches():
            yield b"".join(map(self._frame, batch))
            await asyncio.sleep(pause_s())

    def _frame(self, item: StreamEvent | JobState) -> bytes:
        if isinstance(item, JobState):
            return self._state_frame(item)
        item.frame = item.frame or _event_frame(self._job, item.event, self._budget)
        return item.frame

    def _state_frame(self, state: JobState) -> bytes:
        data: dict[str, Any] = {
            "job_id": self._job.id,
            "status": state.status,
            "position": state.position,
            "media": None,
        }
        # Workers report progress after each file; before the first report none is ready.
        progress = state.media_progress or (f"0/{self._media}" if self._media else "")
        if state.status == JobStatus.PREPARING and progress:
            done, _, total = progress.partition("/")
            data["media"] = {"ready": int(done), "all": int(total)}
        return ServerSentEvent(json.dumps(data), event="job.status").encode()


def _event_frame(job: Job, event: Event, budget: int) -> bytes:
    kind, data = _public_event(job, event, budget)
    return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=kind, id=str(event.seq)).encode()


def _public_event(job: Job, event: Event, budget: int) -> tuple[str, dict[str, Any]]:
    if event.type == "started":
        restarted = bool(event.data.get("restarted"))
        return "job.started", {"job_id": job.id, "attempt": event.data["attempt"], "restarted": restarted}
    if event.type == "tokens":
        data = {"text": event.data["text"], "tokens": len(event.data["ids"])}
        if event.data["phase"] == "thinking":
            used = {"thinking_tokens": event.data.get("thinking", 0), "budget_tokens": budget}
            return "thinking.delta", {**data, **used}
        return "answer.delta", data
    # The job is nested: OpenAI's client treats a top-level `error` as a broken stream.
    status = event.data["status"]
    return f"job.{status}", {"job": {"id": job.id, **event.data}}


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
