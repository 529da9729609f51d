"""The route of calls that create a job and wait for it, also when their bodies are large.

The process for large bodies accepts the job and hands the call over to the api process, which replies: it has the
connection of the client, and no time limit.
"""

import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.middleware.fairness.shares import release_call
from api.middleware.input.json_body import JsonRoute
from api.openai.foreground.call import ForegroundCall, Place
from api.openai.foreground.departures import Departures
from jobs.errors import Overloaded

HANDED_OVER = "x-thinkqueue-handed-over"
"""Header of a reply of the process for large bodies that the api process must complete."""
REPLY = "foreground_reply"
IS_STREAM = "is_stream"

Reply = Callable[[Request, ForegroundCall, Place], Awaitable[Response]]
"""Replies to a call, and releases its place when the response has ended."""
Accept = Callable[[], ForegroundCall | Response]
"""Accepts the job in a thread; a response is sent as it is."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def replies_with(reply: Reply) -> Callable[[Endpoint], Endpoint]:
    """Declare how the calls of an endpoint are replied to; a decorator."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, REPLY, reply)
        return endpoint

    return mark


async def accept_and_reply(request: Request, accept: Accept, reply: Reply, *, is_stream: bool | None) -> Response:
    """Accept the job of a call and reply, or let the api process reply.

    Args:
        is_stream: whether the reply is a stream; None: the call does not wait.
    """
    is_inner: bool = request.app.state.is_inner
    place = None if is_inner or is_stream is None else await Place.take(request, is_stream=is_stream)
    try:
        accepted = await run_in_threadpool(accept)
        if isinstance(accepted, Response):
            if place:
                place.release()
            return accepted
        if place is None:
            return JSONResponse(accepted.to_json(), headers={HANDED_OVER: "1"})
        release_call(request)
        return await _reply(request, accepted, reply, place)
    except BaseException:
        if place:
            place.release()
        raise


class ForegroundRoute(JsonRoute):
    """A route whose endpoint uses ``accept_and_reply`` and is marked by ``replies_with``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        reply: Reply = getattr(self.endpoint, REPLY)

        async def handle_and_reply(request: Request) -> Response:
            response = await handle(request)
            if request.app.state.is_inner or HANDED_OVER not in response.headers:
                return response
            return await _take_over(request, json.loads(bytes(response.body)), reply)

        return handle_and_reply


async def _take_over(request: Request, document: dict[str, Any], reply: Reply) -> Response:
    """Reply to a call that the process for large bodies has accepted."""
    service: Services = request.app.state.services
    call = await run_in_threadpool(ForegroundCall.read, document, service)
    try:
        place = await Place.take(request, is_stream=bool(call.options.get(IS_STREAM)))
    except Overloaded:
        departures: Departures = request.app.state.departures
        departures.add(call)  # a repeat finds the job
        raise
    try:
        return await _reply(request, call, reply, place)
    except BaseException:
        place.release()
        raise


async def _reply(request: Request, call: ForegroundCall, reply: Reply, place: Place) -> Response:
    service: Services = request.app.state.services
    if call.is_replay:
        await run_in_threadpool(service.followers.take_over, call.job.id, call.id)
    return await reply(request, call, place)
