"""Refusals of a client that goes on sending refused calls are delayed; other responses are not."""

import asyncio
from collections.abc import Awaitable, MutableMapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.middleware.fairness.refusal_pacing import MAX_DELAYED, RefusalPacer, RefusalPacingMiddleware

PROMPT = 20


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=int(scope["path"]))(scope, receive, send)


class Calls:
    """Sends calls through the middleware."""

    def __init__(self) -> None:
        self._middleware = RefusalPacingMiddleware(answer, prompt_refusals=PROMPT)

    async def send(self, status: int, address: str = "10.0.0.1") -> "asyncio.Task[None]":
        """Return the task of a call after all that can be done without time passing is done."""
        scope = {"type": "http", "method": "GET", "path": str(status), "client": (address, 1), "headers": []}
        task = asyncio.ensure_future(self._call(scope))
        for _ in range(5):
            await asyncio.sleep(0)
        return task

    async def _call(self, scope: dict[str, Any]) -> None:
        async def send(_message: MutableMapping[str, Any]) -> None:
            return None

        def receive() -> Awaitable[MutableMapping[str, Any]]:
            raise AssertionError("the calls have no body")

        await self._middleware(scope, receive, send)


def test_only_the_client_that_goes_on_is_delayed() -> None:
    async def scenario() -> None:
        calls = Calls()
        for _ in range(PROMPT):
            assert (await calls.send(404)).done()
        late = await calls.send(429)
        assert not late.done()
        assert (await calls.send(404, address="10.0.0.2")).done()
        for status in (200, 202, 304, 500, 503):
            assert (await calls.send(status)).done()
        late.cancel()

    asyncio.run(scenario())


def test_the_number_of_delayed_refusals_is_bounded() -> None:
    async def scenario() -> None:
        pacer = RefusalPacer(PROMPT)
        assert all(pacer.is_prompt("a") for _ in range(PROMPT))
        tasks = [asyncio.ensure_future(pacer.pace("a")) for _ in range(MAX_DELAYED)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        await asyncio.wait_for(pacer.pace("a"), 0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not pacer.is_prompt("a")

    asyncio.run(scenario())
