"""The event streams of ended jobs, ready to send."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from starlette.concurrency import run_in_threadpool

from api.streaming.event_frames import EventFrames
from jobs.lifecycle.end.archive import EventArchive
from jobs.model.events import Event
from jobs.model.job import Job
from jobs.objects.keys import events_key
from jobs.objects.reader import DocumentCache

CACHE_BYTES = 32 * 2**20
"""A stream of more than an eighth of it is not kept."""
EVENTS_PER_PIECE = 200
END_OF_FRAME = b"\r\n\r\n"

Encode = Callable[[list[Event]], bytes]


class Replays:
    """Reads the streams of ended jobs and keeps those that were read last, which never change.

    Reading and encoding a stream of a thousand events takes 40 ms of processor time, which a client that reconnects
    again and again would take from other tenants. To be used from one event loop.

    Args:
        hold: waits until a tenant may read a stream.
    """

    def __init__(self, archive: EventArchive, hold: Callable[[str], AbstractAsyncContextManager[None]]) -> None:
        self._archive = archive
        self._hold = hold
        self._cache = DocumentCache(max_bytes=CACHE_BYTES)

    async def read(self, job: Job, frames: EventFrames, *, after: int) -> list[bytes]:
        """Return what follows event ``after`` of an ended job, in pieces; nothing if no event does.

        Raises:
            TooManyCalls: the tenant reads many streams already.
            StoreUnavailable, ObjectStoreUnavailable
        """
        stream = await self.encoded(job, events_key(job.id), partial(_encode, frames))
        found = [frame for frame in stream.split(END_OF_FRAME)[:-1] if after == 0 or _sequence_number(frame) > after]
        pieces = (found[start : start + EVENTS_PER_PIECE] for start in range(0, len(found), EVENTS_PER_PIECE))
        return [END_OF_FRAME.join([*piece, b""]) for piece in pieces]

    async def encoded(self, job: Job, name: str, encode: Encode) -> bytes:
        """Return the stream of an ended job in any form.

        Args:
            name: what the form is kept under; another one for each job and form.
            encode: returns the form of all events, and is called in a thread.

        Raises:
            ThinkqueueError: as ``read``, or what ``encode`` raises.
        """
        key = (name, job.created_ms)
        if (stream := self._cache.get(key)) is None:
            async with self._hold(job.tenant):
                # Another request may have read it while this one waited.
                if (stream := self._cache.get(key)) is None:
                    events = await run_in_threadpool(self._archive.read, job.id)
                    stream = await run_in_threadpool(encode, events)
                    if events and events[-1].type == "ended":
                        self._cache.put(key, stream)
        return stream


def _encode(frames: EventFrames, events: list[Event]) -> bytes:
    return b"".join(map(frames.of_event, events))


def _sequence_number(frame: bytes) -> int:
    """Return the number of an encoded event, which begins with its id."""
    return int(frame[len(b"id: ") : frame.index(b"\r")])
