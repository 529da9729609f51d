"""``GET /v1/jobs/{id}/events``: the progress of a job as server-sent events.

The id of an event is its sequence number in the stream, so ``Last-Event-ID`` resumes after any event, on any api
process, also after the job has ended. ``job.status`` describes the present: it has no id and is not repeated.
"""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.auth import bearer_auth, caller
from api.streaming.event_hub import JobState, Subscription
from jobs.errors import Invalid, Problem
from jobs.lifecycle.lookup import find_job
from jobs.model.events import Event
from jobs.model.job import Job, JobStatus
from jobs.tenants.api_keys import ApiKey

PING_INTERVAL_S = 15
SEND_TIMEOUT_S = 30.0
"""A client that reads nothing for this long is disconnected."""

log = structlog.get_logger(__name__)


class JobEventStream(EventSourceResponse):
    """Ends without an error when a stalled client is disconnected; the socket's own timeout frees the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("stream.disconnected", path=scope["path"])


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
    }
}


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=STREAM_RESPONSE)
async def stream_events(
    job_id: Annotated[str, Path(description="Id of the job.")],
    key: Annotated[ApiKey, Depends(caller)],
    service: Annotated[Services, Depends(services)],
    last_event_id: Annotated[str | None, Header(description="Id of the last event received.")] = None,
    after: Annotated[
        int | None, Query(ge=0, le=2**53, description="The same as `Last-Event-ID`, for clients that cannot set it.")
    ] = None,
) -> EventSourceResponse:
    """Stream a job's events until it ends. Resume after the last event received with `Last-Event-ID` or `after`."""
    position = after if after is not None else _parse_last_event_id(last_event_id)
    job = await run_in_threadpool(find_job, service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
    request = await run_in_threadpool(service.documents.request, job)
    if job.status.is_terminal:
        events = await run_in_threadpool(service.archive.read, job_id, after=position)
        frames = _replay(job, events, request.thinking_budget)
    else:
        frames = _follow(service, service.event_hub.subscribe(job.id, after=position), job, request.thinking_budget)
    return JobEventStream(
        frames,
        ping=PING_INTERVAL_S,
        send_timeout=SEND_TIMEOUT_S,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _replay(job: Job, events: list[Event], budget: int) -> AsyncIterator[ServerSentEvent]:
    for event in events:
        yield _event_frame(job, event, budget)


async def _follow(
    service: Services, subscription: Subscription, job: Job, budget: int
) -> AsyncIterator[ServerSentEvent]:
    try:
        async for item in subscription.items():
            if isinstance(item, Event):
                yield _event_frame(job, item, budget)
            else:
                yield _state_frame(job, item)
    finally:
        service.event_hub.unsubscribe(subscription)


def _event_frame(job: Job, event: Event, budget: int) -> ServerSentEvent:
    kind, data = _public_event(job, event, budget)
    return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=kind, id=str(event.seq))


def _state_frame(job: Job, state: JobState) -> ServerSentEvent:
    data: dict[str, Any] = {"job_id": job.id, "status": state.status, "position": state.position, "media": None}
    if state.status == JobStatus.PREPARING and state.media_progress:
        done, _, total = state.media_progress.partition("/")
        data["media"] = {"ready": int(done), "all": int(total)}
    return ServerSentEvent(json.dumps(data), event="job.status")


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


def _parse_last_event_id(last_event_id: str | None) -> int:
    if last_event_id is None or not last_event_id.strip():
        return 0
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
