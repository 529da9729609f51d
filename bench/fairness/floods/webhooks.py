"""Floods of webhooks and media on hosts that stall."""

import httpx

from bench.fairness.floods.flooder import Flood, Flooder, media_job, text_job


async def stalling_receivers(flooder: Flooder) -> None:
    await flooder.repeat(16, lambda number: _call_back(flooder, number, host=number))


async def stalling_receiver(flooder: Flooder) -> None:
    await flooder.repeat(16, lambda number: _call_back(flooder, number, host=1))


async def _call_back(flooder: Flooder, number: int, *, host: int) -> httpx.Response:
    url = flooder.target.hostile_url("/drip" if number % 5 == 0 else "/stall", host)
    if number % 2:
        return await flooder.client.post("/v1/webhook_secret/test", json={"url": url})
    return await flooder.submit(text_job(callback={"url": url}))


async def stalling_media(flooder: Flooder) -> None:
    async def submit(number: int) -> httpx.Response:
        path = "/drip" if number % 3 == 0 else "/stall"
        kind = ("image_url", "video_url", "document_url")[number % 3]
        return await flooder.submit(media_job(kind, flooder.target.hostile_url(path, number)))

    await flooder.repeat(8, submit)


async def odd_encodings(flooder: Flooder) -> None:
    async def submit(number: int) -> httpx.Response:
        path = "/bomb" if number % 4 == 0 else f"/odd/{number}"
        return await flooder.submit(media_job("image_url", flooder.target.hostile_url(path, number)))

    await flooder.repeat(8, submit)


WEBHOOK_FLOODS: dict[str, Flood] = {
    "webhooks to many stalling hosts": stalling_receivers,
    "webhooks to one stalling host": stalling_receiver,
    "stalling media": stalling_media,
    "odd encodings": odd_encodings,
}
