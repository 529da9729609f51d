"""The bounds on a request's body."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.errors.handlers import BodyTooSlow
from api.middleware.body_limit import BodyLimitMiddleware

TIMEOUT_S = 0.05


def read_body(receive: Receive, *, delay_s: float) -> list[Message]:
    """Read a request's first message through the middleware, ``delay_s`` after the request has arrived."""
    read: list[Message] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await asyncio.sleep(delay_s)
        read.append(await receive())

    async def send(_message: Message) -> None: ...

    middleware = BodyLimitMiddleware(app, max_bytes=10, timeout_s=TIMEOUT_S)
    asyncio.run(middleware({"type": "http"}, receive, send))
    return read


def test_a_body_that_has_arrived_is_read_however_late_the_route_reads_it() -> None:
    message = {"type": "http.request", "body": b"", "more_body": False}

    async def receive() -> Message:
        return message

    assert read_body(receive, delay_s=2 * TIMEOUT_S) == [message]


def test_a_body_that_does_not_arrive_is_refused() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(BodyTooSlow):
        read_body(receive, delay_s=0)
