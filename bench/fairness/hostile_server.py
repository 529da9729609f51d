"""The flooding tenant's own server: it stalls, sends slowly, or encodes its replies in odd ways."""

import asyncio
import gzip
import os
from pathlib import Path

ADDRESSES = [f"127.0.0.{last}" for last in range(1, 251)]
"""As many hosts as a tenant with a wildcard DNS name has; Linux accepts all of 127.0.0.0/8."""
DRIP_S = 2.0

ENCODINGS = ("gzip", "br", "deflate", "gzip, gzip", "zstd", "aws-chunked", "x-unknown", "")
GZIP_BOMB = gzip.compress(bytes(512 * 2**20), compresslevel=1)
"""512 MiB of zeros."""


def serve(port: int, folder: Path) -> None:
    """Serve on ``port`` of every address, until the process is terminated.

    Paths: ``/stall`` never answers, ``/drip`` sends a byte every ``DRIP_S``, ``/odd/N`` sends a body that is not
    what its ``Content-Encoding`` says, ``/bomb`` sends a gzip bomb, ``/files/NAME`` sends a file of ``folder``.
    """
    os.nice(10)
    asyncio.run(_serve(port, folder))


async def _serve(port: int, folder: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            await _answer(line, writer, folder)
        except (OSError, EOFError, IndexError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(handle, ADDRESSES, port, backlog=1_024) as server:
        await server.serve_forever()


async def _answer(path: str, writer: asyncio.StreamWriter, folder: Path) -> None:
    if path.startswith("/stall"):
        await asyncio.sleep(600)
    elif path.startswith("/drip"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n\r\n")
        for _ in range(300):
            writer.write(b"\x89")
            await writer.drain()
            await asyncio.sleep(DRIP_S)
    elif path.startswith("/odd/"):
        coding = ENCODINGS[int(path.rpartition("/")[2]) % len(ENCODINGS)]
        await _send(writer, os.urandom(200_000), coding)
    elif path.startswith("/bomb"):
        await _send(writer, GZIP_BOMB, "gzip")
    elif path.startswith("/files/"):
        await _send(writer, (folder / Path(path).name).read_bytes(), None)


async def _send(writer: asyncio.StreamWriter, body: bytes, coding: str | None) -> None:
    extra = "" if coding is None else f"content-encoding: {coding}\r\n"
    writer.write(f"HTTP/1.1 200 OK\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
