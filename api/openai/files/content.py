"""Sends the content of a file in pieces, each read when the client has taken the one before."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.middleware.input.body_limit import HeldBody
from jobs.lifecycle.files import Files
from jobs.objects.files import StoredFile

PIECE_BYTES = 2**20


async def content_response(request: Request, files: Files, file: StoredFile) -> Response:
    """Return a response with the content of a file.

    Raises:
        TooManyBodies: the memory for large bodies did not become free in time.
        FileMissing: the file was deleted meanwhile.
    """
    headers = {
        "content-length": str(file.bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    if not file.bytes:
        return Response(b"", headers=headers, media_type="application/octet-stream")
    held: HeldBody = request.state.held_body
    await held.acquire(2 * PIECE_BYTES)  # released when the response has ended
    # The first piece is read before the response starts, so that an error has a status.
    first = await run_in_threadpool(files.read, file, offset=0, length=PIECE_BYTES)

    async def pieces() -> AsyncIterator[bytes]:
        yield first
        for offset in range(len(first), file.bytes, PIECE_BYTES):
            yield await run_in_threadpool(files.read, file, offset=offset, length=PIECE_BYTES)

    return StreamingResponse(pieces(), headers=headers, media_type="application/octet-stream")
