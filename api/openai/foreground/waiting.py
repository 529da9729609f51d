"""Waits for the end of a job for as long as the client does."""

import asyncio
from enum import Enum

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Receive

from api.streaming.event_hub import EventHub
from api.streaming.event_response import PING_INTERVAL_S
from runtime.settings import Settings

TIMEOUT_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Seconds that the Python and the JS SDK wait for a byte."""
MARGIN_S, MARGIN_SHARE = 5.0, 0.1
"""A call is answered this much before the client gives up, at most this share of its time."""
MIN_WAIT_S, MIN_PING_S = 0.5, 0.5
RETRY_INTERVAL_S = 1.0


class Waited(Enum):
    """How a wait ended."""

    ENDED = "ended"
    """The job has ended."""
    TIMED_OUT = "timed out"
    CLIENT_LEFT = "client left"


def announced_timeout_s(headers: Headers) -> float | None:
    """Return how long the client waits for a byte; None if it does not say."""
    for name in TIMEOUT_HEADERS:
        try:
            seconds = float(headers.get(name, ""))
        except ValueError:
            continue
        if 0 < seconds < float("inf"):
            return seconds
    return None


def wait_limit_s(headers: Headers, settings: Settings) -> float:
    """Return how long a call may wait for its job."""
    announced = announced_timeout_s(headers)
    if announced is None:
        return settings.foreground_wait_s
    return max(MIN_WAIT_S, min(settings.foreground_wait_s, announced - min(MARGIN_S, MARGIN_SHARE * announced)))


def ping_interval_s(headers: Headers) -> float:
    """Return how often a stream sends a comment, so that neither the client nor a proxy gives up."""
    announced = announced_timeout_s(headers)
    return PING_INTERVAL_S if announced is None else max(MIN_PING_S, min(PING_INTERVAL_S, announced / 3))


async def wait_for_end(request: Request, hub: EventHub, job_id: str, *, limit_s: float) -> Waited:
    """Wait until a job has ended, its client has left, or the time is over."""
    ended = asyncio.create_task(_until_ended(hub, job_id, limit_s))
    left = asyncio.create_task(_until_left(request.receive))
    try:
        await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return Waited.ENDED if ended.result() else Waited.TIMED_OUT
        return Waited.CLIENT_LEFT
    finally:
        ended.cancel()
        left.cancel()


async def _until_ended(hub: EventHub, job_id: str, limit_s: float) -> bool:
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit_s
    while (left_s := deadline - clock()) > 0:
        if await hub.wait_until_ended(job_id, limit_s=left_s):
            return True
        await asyncio.sleep(min(RETRY_INTERVAL_S, max(0.0, deadline - clock())))  # Redis does not answer
    return False


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
