"""The measured tenant: twice a second it submits a small image job, polls it, lists its jobs and awaits the webhook.

It polls less often the longer a job takes, so that slow jobs do not bring it to its own limit of requests.
"""

import asyncio
import base64
import io
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from PIL import Image, ImageDraw

INTERVAL_S = 0.5
POLL_S, POLL_GROWTH, MAX_POLL_S = 0.1, 1.5, 1.0
LIMIT_S = 60.0
"""A call, a job or a webhook that takes longer counts as this long."""
MEASURES = ("accept", "end", "webhook", "poll", "list")


@dataclass(frozen=True)
class Summary:
    """Seconds of one measure."""

    median: float
    p99: float
    count: int


@dataclass
class Samples:
    """Seconds by measure.

    ``accept``: POST until the 202. ``end``: POST until the job ended. ``webhook``: its end until the webhook arrived.
    ``poll``: GET of the job. ``list``: GET of the newest 20 jobs.
    """

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Summary]:
        return {name: _summary(self.values[name]) for name in MEASURES if self.values[name]}


def _summary(values: list[float]) -> Summary:
    ordered = sorted(values)
    return Summary(statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1], len(ordered))


class Neighbour:
    """Measures what this tenant experiences."""

    def __init__(self, url: str, token: str, webhooks: "WebhookReceiver") -> None:
        self._client = httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=LIMIT_S, limits=httpx.Limits()
        )
        self._webhooks = webhooks
        self._image = _image_url()

    async def close(self) -> None:
        await self._client.aclose()

    async def measure(self, seconds: float) -> Samples:
        """Start a job every ``INTERVAL_S``, whether or not the earlier ones have ended, and wait for all of them."""
        samples = Samples()
        begun = time.monotonic()
        tasks = []
        for number in range(int(seconds / INTERVAL_S)):
            await asyncio.sleep(max(0.0, begun + number * INTERVAL_S - time.monotonic()))
            tasks.append(asyncio.create_task(self._run_job(samples)))
        await asyncio.gather(*tasks)
        return samples

    async def _run_job(self, samples: Samples) -> None:
        sent, sent_at = time.monotonic(), time.time()
        try:
            reply = await _timed(samples, "accept", self._client.post("/v1/jobs", json=self._body()))
            if reply.status_code != 202:
                samples.errors.append(f"submit: {reply.status_code} {reply.text[:200]}")
                return
            job = await self._await_end(reply.json()["id"], sent, samples)
            ended_at = datetime.fromisoformat(job["ended_at"]).timestamp() if job else sent_at + LIMIT_S
            samples.values["end"].append(ended_at - sent_at)
            if not job:
                samples.errors.append(f"not ended within {LIMIT_S:g} s")
                return
            if job["status"] != "completed":
                samples.errors.append(f"ended as {job['status']}: {job['error']}")
            arrived_at = await self._webhooks.arrival(job["id"], limit_s=LIMIT_S)
            samples.values["webhook"].append(max(0.0, (arrived_at or ended_at + LIMIT_S) - ended_at))
        except httpx.HTTPError as error:
            samples.errors.append(repr(error))
            samples.values["accept"].append(LIMIT_S)

    async def _await_end(self, job_id: str, sent: float, samples: Samples) -> dict[str, Any] | None:
        await _timed(samples, "list", self._client.get("/v1/jobs", params={"limit": 20}))
        pause_s = POLL_S
        while time.monotonic() < sent + LIMIT_S:
            reply = await _timed(samples, "poll", self._client.get(f"/v1/jobs/{job_id}"))
            if reply.status_code == 200 and reply.json()["ended_at"]:
                return dict(reply.json())
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_POLL_S, POLL_GROWTH * pause_s)
        return None

    def _body(self) -> dict[str, Any]:
        content = [
            {"type": "image_url", "image_url": {"url": self._image}},
            {"type": "text", "text": "How many circles are there?"},
        ]
        return {
            "messages": [{"role": "user", "content": content}],
            "thinking": {"budget_tokens": 16},
            "max_answer_tokens": 8,
            "callback": {"url": self._webhooks.url},
        }


async def _timed(samples: Samples, name: str, call: Awaitable[httpx.Response]) -> httpx.Response:
    begun = time.monotonic()
    reply = await call
    samples.values[name].append(time.monotonic() - begun)
    if reply.status_code >= 400:
        samples.errors.append(f"{name}: {reply.status_code} {reply.text[:200]}")
        samples.values[name][-1] = LIMIT_S
    return reply


def _image_url() -> str:
    image = Image.new("RGB", (112, 112), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 80, 80), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class WebhookReceiver:
    """Answers every webhook with 200 and remembers when the webhook of each job arrived."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._arrivals: dict[str, asyncio.Future[float]] = {}

    async def arrival(self, job_id: str, *, limit_s: float) -> float | None:
        """Return the time of arrival in seconds since 1970, or None after ``limit_s``."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._future(job_id)), limit_s)
        except TimeoutError:
            return None

    def _future(self, job_id: str) -> "asyncio.Future[float]":
        return self._arrivals.setdefault(job_id, asyncio.get_running_loop().create_future())

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived_at = time.time()
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.lower().splitlines()
                if line.startswith(b"content-length:")
            )
            event = json.loads(await reader.readexactly(length))
            future = self._future(event["data"]["id"])
            if not future.done():
                future.set_result(arrived_at)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, EOFError, ValueError, KeyError, StopIteration, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def webhook_receiver(port: int) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(f"http://127.0.0.1:{port}/")
    async with await asyncio.start_server(receiver.handle, "127.0.0.1", port):
        yield receiver
