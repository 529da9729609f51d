"""Floods of connections that stay open."""

import asyncio
from contextlib import closing
from urllib.parse import urlsplit

import httpx

from bench.fairness.floods.flooder import Flood, Flooder, text_job

SLOW_CONNECTIONS = 500
STREAMS = 300


async def event_streams(flooder: Flooder) -> None:
    reply = await flooder.submit(text_job("Count to a thousand.", thinking=1_200, answer=400))
    job_id = reply.raise_for_status().json()["id"]

    async def stream(_: int) -> None:
        async with flooder.client.stream("GET", f"/v1/jobs/{job_id}/events") as events:
            async for _line in events.aiter_lines():
                pass

    await flooder.repeat(STREAMS, stream)


async def slow_headers(flooder: Flooder) -> None:
    address = urlsplit(flooder.target.url)

    async def trickle(_: int) -> httpx.Response | None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        with closing(writer):
            writer.write(b"POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n")
            for number in range(600):
                writer.write(f"x-header-{number}: ".encode())
                await writer.drain()
                if reader.at_eof():
                    break
                await asyncio.sleep(1)
        return None

    await flooder.repeat(SLOW_CONNECTIONS, trickle)


CONNECTION_FLOODS: dict[str, Flood] = {"event streams": event_streams, "slow headers": slow_headers}
