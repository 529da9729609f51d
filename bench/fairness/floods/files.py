"""Floods of files that are large or take long to decode."""

import asyncio
import zlib
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from bench.fairness.floods.flooder import Flood, Flooder, media_job
from testing.inputs.videos import write

UPLOAD_BYTES = 200 * 2**20
PDF, PNG, VIDEO = "slow.pdf", "huge.png", "long.mp4"
PNG_SIZE = (9_900, 9_900)
"""98 megapixels; the limit is 100."""


def write_files(folder: Path) -> None:
    """Write the files of the floods."""
    (folder / PDF).write_bytes(_slow_pdf(pages=30))
    noise = np.random.default_rng(1).integers(0, 255, (110, 110, 3), np.uint8)
    Image.fromarray(noise).resize(PNG_SIZE, Image.Resampling.NEAREST).save(folder / PNG, compress_level=1)
    frames = [np.full((360, 640, 3), shade % 256, np.uint8) for shade in range(250)]
    write(folder / VIDEO, frames * 24, rate=25)  # four minutes


def _slow_pdf(pages: int) -> bytes:
    """Return a PDF whose pages draw 20,000 translucent curves each."""
    curves = "".join(f"{x % 590} 10 m {x % 400} 700 {x % 300} 20 {600 - x % 590} 790 c S\n" for x in range(20_000))
    drawing = zlib.compress(f"/G gs 8 w\n{curves}".encode())
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(drawing), drawing))
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 3 0 R "
        b"/Resources << /ExtGState << /G << /CA 0.3 >> >> >> >>"
    )
    kids = b" ".join(b"%d 0 R" % (4 + number) for number in range(pages))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%b] >>" % (pages, kids)
    objects += [page] * pages
    out = b"%PDF-1.7\n" + b"".join(b"%d 0 obj\n%b\nendobj\n" % (n, content) for n, content in enumerate(objects, 1))
    return out + b"trailer\n<< /Size %d /Root 1 0 R >>\n%%%%EOF\n" % (len(objects) + 1)


async def large_uploads(flooder: Flooder) -> None:
    content = bytes(UPLOAD_BYTES)

    async def upload(_: int) -> httpx.Response:
        announced = await flooder.client.post("/v1/uploads", json={"bytes": len(content)})
        if announced.is_error:
            return announced
        upload = announced.json()
        etags = []
        for number, url in enumerate(upload["part_urls"] or [upload["url"]]):
            size = upload["part_bytes"] or len(content)
            part = content[number * size : (number + 1) * size]
            async with httpx.AsyncClient(timeout=120) as plain:
                etags.append((await plain.put(url, content=part)).headers.get("etag", ""))
        if upload["part_urls"]:
            await flooder.client.post(f"/v1/uploads/{upload['id']}/complete", json={"etags": etags})
        return await flooder.submit(media_job("video_url", f"upload:{upload['id']}"))

    await flooder.repeat(2, upload)


async def slow_pdfs(flooder: Flooder) -> None:
    await _submit_file(flooder, "document_url", PDF)


async def huge_pngs(flooder: Flooder) -> None:
    await _submit_file(flooder, "image_url", PNG)


async def long_videos(flooder: Flooder) -> None:
    await _submit_file(flooder, "video_url", VIDEO)


async def _submit_file(flooder: Flooder, kind: str, name: str) -> None:
    body = media_job(kind, flooder.target.hostile_url(f"/files/{name}"))

    async def submit(_: int) -> httpx.Response:
        await asyncio.sleep(0.2)
        return await flooder.submit(body)

    await flooder.repeat(4, submit)


FILE_FLOODS: dict[str, Flood] = {
    "large uploads": large_uploads,
    "slow PDFs": slow_pdfs,
    "huge PNGs": huge_pngs,
    "long videos": long_videos,
}
