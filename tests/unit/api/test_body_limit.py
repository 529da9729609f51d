"""The bounds on a request's body."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.errors.handlers import BodyTooSlow
from api.middleware.fairness.fair_share import FairShare
from api.middleware.input.body_limit import SMALL_BYTES, BodyLimitMiddleware
from jobs.errors import TooManyBodies
from jobs.tenants.api_key import ApiKey

TIMEOUT_S = 0.05


def read_body(receive: Receive, *, delay_s: float) -> list[Message]:
    """Read a request's first message through the middleware, ``delay_s`` after the request has arrived."""
    read: list[Message] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await asyncio.sleep(delay_s)
        read.append(await receive())

    async def send(_message: Message) -> None: ...

    bodies = FairShare(10, per_tenant=10, max_waiting=0, limit_s=0, refusal=TooManyBodies)
    middleware = BodyLimitMiddleware(app, max_bytes=10, timeout_s=TIMEOUT_S, bodies=bodies, processing=bodies)
    asyncio.run(middleware({"type": "http", "headers": []}, receive, send))
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


@pytest.mark.parametrize("announced", [b"5", b"99999"])
def test_a_response_that_has_started_is_not_ended_by_a_body_that_does_not_arrive(announced: bytes) -> None:
    """An event stream listens for the client's disconnect and does not read the body."""
    disconnect = {"type": "http.disconnect"}
    read: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start"})
        read.append(await receive())

    async def receive() -> Message:
        await asyncio.sleep(3 * TIMEOUT_S)
        return disconnect

    async def send(_message: Message) -> None: ...

    bodies = FairShare(10, per_tenant=10, max_waiting=0, limit_s=0, refusal=TooManyBodies)
    middleware = BodyLimitMiddleware(app, max_bytes=10, timeout_s=TIMEOUT_S, bodies=bodies, processing=bodies)
    scope = {"type": "http", "headers": [(b"content-length", announced)]}
    asyncio.run(middleware(scope, receive, send))
    assert read == [disconnect]


def test_a_tenants_large_bodies_wait_for_each_other() -> None:
    size = 2 * SMALL_BYTES
    order: list[str] = []

    async def scenario() -> None:
        arriving = asyncio.Event()
        bodies = FairShare(4 * size, per_tenant=size, max_waiting=9, limit_s=30, refusal=TooManyBodies)

        async def app(scope: Scope, receive: Receive, _send: Send) -> None:
            await receive()
            order.append(scope["name"])

        async def request(name: str, tenant: str, arrived: asyncio.Event) -> None:
            async def receive() -> Message:
                await arrived.wait()
                return {"type": "http.request", "body": bytes(size), "more_body": False}

            async def send(_message: Message) -> None: ...

            middleware = BodyLimitMiddleware(app, max_bytes=size, timeout_s=30, bodies=bodies, processing=bodies)
            headers = [(b"content-length", str(size).encode())]
            state = {"caller": ApiKey("", tenant)}
            await middleware({"type": "http", "name": name, "headers": headers, "state": state}, receive, send)

        ready = asyncio.Event()
        ready.set()
        slow = asyncio.ensure_future(request("slow", "a", arriving))
        await asyncio.sleep(0)
        behind = asyncio.ensure_future(request("behind", "a", ready))
        await asyncio.wait_for(request("other tenant", "b", ready), 30)
        assert order == ["other tenant"]
        arriving.set()
        await asyncio.wait_for(asyncio.gather(slow, behind), 30)

    asyncio.run(scenario())
    assert order == ["other tenant", "slow", "behind"]
