"""The client of the flooding tenant."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

PAUSE_S = 0.02
"""After a refusal. A client that never pauses would measure only how fast this machine refuses."""


@dataclass(frozen=True)
class Target:
    """What a flood needs to know. It is passed to another process."""

    url: str
    token: str
    hostile_port: int
    files: Path

    def hostile_url(self, path: str, number: int = 1) -> str:
        """Return a URL of the flooding tenant's own server, on the address of that number."""
        return f"http://127.0.0.{1 + number % 250}:{self.hostile_port}{path}"


class Flooder:
    """Sends requests in several loops, and ignores what comes back."""

    def __init__(self, target: Target, client: httpx.AsyncClient) -> None:
        self.target = target
        self.client = client
        self.numbers = count()

    async def repeat(self, loops: int, action: Callable[[int], Awaitable[httpx.Response | None]]) -> None:
        """Call ``action`` with a new number again and again, in parallel loops, until the task is cancelled."""

        async def loop() -> None:
            while True:
                try:
                    reply = await action(next(self.numbers))
                except (httpx.HTTPError, OSError, EOFError, ValueError, KeyError):
                    await asyncio.sleep(PAUSE_S)
                    continue
                if reply is None or reply.status_code >= 400:
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(loop() for _ in range(loops)))

    async def submit(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.client.post("/v1/jobs", json=body, headers=headers)


Flood = Callable[[Flooder], Awaitable[None]]


async def run(flood: Flood, target: Target) -> None:
    """Run a flood until the task is cancelled."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    headers = {"authorization": f"Bearer {target.token}"}
    async with httpx.AsyncClient(base_url=target.url, headers=headers, timeout=120, limits=limits) as client:
        await flood(Flooder(target, client))


def text_job(text: str = "Hello.", *, thinking: int = 0, answer: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}],
        "thinking": {"budget_tokens": thinking},
        "max_answer_tokens": answer,
        **more,
    }


def media_job(kind: str, url: str) -> dict[str, Any]:
    """Return a job with one file.

    Args:
        kind: ``image_url``, ``video_url`` or ``document_url``.
    """
    content = [{"type": kind, kind: {"url": url}}, {"type": "text", "text": "What is shown?"}]
    return text_job() | {"messages": [{"role": "user", "content": content}]}
