"""Floods of calls to the API about jobs."""

import base64
import json
import os

import httpx

from bench.fairness.floods.flooder import Flood, Flooder, text_job

MIB = 2**20


async def many_jobs(flooder: Flooder) -> None:
    await flooder.repeat(16, lambda _: flooder.submit(text_job()))


async def long_jobs(flooder: Flooder) -> None:
    body = text_job("Count to a thousand.", thinking=1_200, answer=400)
    await flooder.repeat(8, lambda _: flooder.submit(body))


async def large_bodies(flooder: Flooder) -> None:
    url = "data:image/png;base64," + base64.b64encode(os.urandom(6 * MIB)).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = json.dumps(text_job() | {"messages": [{"role": "user", "content": content}]}).encode()
    await flooder.repeat(8, lambda _: _post(flooder, body))


async def tiny_values(flooder: Flooder) -> None:
    shapes = (
        json.dumps(text_job() | {"messages": [{"role": "user", "content": [{}] * (2 * MIB // 4)}]}).encode(),
        json.dumps(text_job() | {f"field_{number}": number for number in range(400_000)}).encode(),
        json.dumps(text_job() | {"metadata": {str(number): "x" for number in range(200_000)}}).encode(),
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    )
    await flooder.repeat(8, lambda number: _post(flooder, shapes[number % len(shapes)]))


async def labels_and_lists(flooder: Flooder) -> None:
    async def submit_or_list(number: int) -> httpx.Response:
        if number % 4 == 0:
            metadata = {f"label_{index}": f"{number % 10}" for index in range(16)}
            return await flooder.submit(text_job(metadata=metadata))
        query = {f"metadata[label_{index}]": f"{number % 10}" for index in range(16)}
        return await flooder.client.get("/v1/jobs", params={"status": "failed", **query})

    await flooder.repeat(16, submit_or_list)


async def prefer_wait(flooder: Flooder) -> None:
    body = text_job("Count to a thousand.", thinking=600, answer=8)
    await flooder.repeat(200, lambda _: flooder.submit(body, prefer="wait=60"))


async def cancels(flooder: Flooder) -> None:
    async def submit_and_cancel(_: int) -> httpx.Response:
        reply = await flooder.submit(text_job("Count.", thinking=600, answer=8))
        return reply if reply.is_error else await flooder.client.post(f"/v1/jobs/{reply.json()['id']}/cancel")

    await flooder.repeat(16, submit_and_cancel)


async def idempotency_conflicts(flooder: Flooder) -> None:
    async def conflict(number: int) -> httpx.Response:
        return await flooder.submit(text_job(f"Number {number}."), **{"idempotency-key": f"key-{number % 3}"})

    await flooder.repeat(32, conflict)


async def unknown_tokens(flooder: Flooder) -> None:
    async def call(_: int) -> httpx.Response:
        token = "tq_" + base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
        return await flooder.client.get("/v1/jobs", headers={"authorization": f"Bearer {token}"})

    await flooder.repeat(32, call)


async def _post(flooder: Flooder, body: bytes) -> httpx.Response:
    return await flooder.client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})


JOB_FLOODS: dict[str, Flood] = {
    "many jobs": many_jobs,
    "long jobs": long_jobs,
    "large bodies": large_bodies,
    "bodies of many tiny values": tiny_values,
    "labels and lists": labels_and_lists,
    "Prefer: wait": prefer_wait,
    "cancels": cancels,
    "idempotency conflicts": idempotency_conflicts,
    "unknown tokens": unknown_tokens,
}
