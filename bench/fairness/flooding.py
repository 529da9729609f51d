"""Run a flood in processes of its own, and remove what it has left."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import httpx

from bench.fairness import hostile_server
from bench.fairness.floods import FLOODS
from bench.fairness.floods.flooder import Target, run

SETTLE_S = 60.0
START = multiprocessing.get_context("spawn")


@contextmanager
def flooding(name: str, target: Target) -> Iterator[None]:
    """Run a flood and the flooding tenant's own server, each in a process."""
    processes: list[BaseProcess] = [
        START.Process(target=hostile_server.serve, args=(target.hostile_port, target.files)),
        START.Process(target=_flood, args=(name, target)),
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.join(10)


def _flood(name: str, target: Target) -> None:
    os.nice(10)
    asyncio.run(run(FLOODS[name], target))


async def end_jobs(url: str, token: str) -> None:
    """Cancel the jobs that a flood has left, so that the next measurement starts from a service without work."""
    headers = {"authorization": f"Bearer {token}"}
    give_up = time.monotonic() + SETTLE_S
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        while time.monotonic() < give_up:
            query: dict[str, str | int | list[str]] = {"status": ["preparing", "queued", "running"], "limit": 100}
            reply = await client.get("/v1/jobs", params=query)
            jobs = reply.json()["data"] if reply.is_success else []
            if reply.is_success and not jobs:
                return
            for job in jobs:
                await client.post(f"/v1/jobs/{job['id']}/cancel")
            await asyncio.sleep(0.5)
