"""The events and the final state of responses whose jobs have ended."""

import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.openai.responses.events.projection import END_OF_FRAME, ResponseEvent, project
from api.openai.responses.ids import response_id
from jobs.errors import NotFound
from jobs.lifecycle.end.archive import EventArchive
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import Job

Encode = Callable[[list[ResponseEvent]], bytes]


async def ended_frames(service: Services, job: Job, request: JobRequest) -> list[bytes]:
    """Return the events of a response as they are sent. The event at index N has the number N.

    Args:
        job: has ended.

    Raises:
        NotFound: the response has expired.
        TooManyCalls: the tenant reads many streams already.
        StoreUnavailable, ObjectStoreUnavailable
    """
    stream = await _encoded(service, job, request, "events", _encode_events)
    return [frame + END_OF_FRAME for frame in stream.split(END_OF_FRAME)[:-1]]


async def ended_state(service: Services, job: Job, request: JobRequest) -> dict[str, Any]:
    """Return a response in its final state, which is the one of its last event. Raises as ``ended_frames``."""
    state = await _encoded(service, job, request, "state", _encode_state)
    return _with_end(json.loads(state), job)


def read_ended_state(service: Services, job: Job, request: JobRequest, result: JobResult) -> dict[str, Any]:
    """As ``ended_state``, without the cache, and from any thread."""
    events = EventArchive(service.store, service.object_store).read(job.id)
    return _with_end(project(request, events, result)[-1].data["response"], job)


def _with_end(response: dict[str, Any], job: Job) -> dict[str, Any]:
    if response["status"] == "completed":
        response["completed_at"] = job.ended_ms // 1000
    return response


async def _encoded(service: Services, job: Job, request: JobRequest, form: str, encode: Encode) -> bytes:
    result = await run_in_threadpool(service.documents.result, job)
    if result is None:
        raise NotFound
    return await service.replays.encoded(
        job, f"{response_id(job.id)}/{form}", lambda events: encode(project(request, events, result))
    )


def _encode_events(events: list[ResponseEvent]) -> bytes:
    return b"".join(event.to_frame() for event in events)


def _encode_state(events: list[ResponseEvent]) -> bytes:
    return json.dumps(events[-1].data["response"]).encode()
