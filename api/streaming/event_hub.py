"""Event streams of many jobs for many readers, with one Redis connection and one task a process.

Every tenth of a second, one XREAD asks for all streams that anybody reads: a thousand idle readers cost one short call.
Tokens are written in tenths of a second anyway, so readers lose nothing by it.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from jobs.errors import TooManyStreams
from jobs.model.events import Event
from jobs.model.job import JobStatus
from runtime import metrics
from runtime.settings import Settings

log = structlog.get_logger(__name__)

ROUND_S = 0.1
STATE_EVERY_S = 1.0
"""Between looks at the states of the jobs: what happens before their streams begin."""
BATCH = 200
"""Events of one stream in one round; as many again may lie here for one reader. Redis keeps the others."""
STALL_LIMIT_S = 30.0
"""A reader that takes nothing for so long is cut off; it can come back with ``Last-Event-ID``."""
STREAMS_A_CALL = 200
LONGEST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class State:
    """Of a job that waits or runs."""

    status: JobStatus
    position: int | None
    """In its line, from 0; None: a worker has it."""
    progress: str
    """Of its inputs: ``done/all``; empty: nobody makes them ready."""


@dataclass(eq=False)
class Reader:
    job_id: str
    after: int
    """The newest event that lies in the queue or has left it."""
    queue: "asyncio.Queue[Event | State | None]" = field(default_factory=asyncio.Queue)
    """At most two batches; None: no more comes."""
    state: State | None = None
    stalled_since: float | None = None
    has_ended: bool = False

    @property
    def has_room(self) -> bool:
        return self.queue.qsize() <= BATCH

    async def items(self) -> AsyncIterator[Event | State]:
        """Until the job's end, or until the reader is cut off."""
        while (item := await self.queue.get()) is not None:
            yield item
            if isinstance(item, Event) and item.type == "ended":
                return

    def tell(self, events: list[Event]) -> None:
        for event in events:
            if event.seq > self.after:
                self.after = event.seq
                self.queue.put_nowait(event)

    def tell_state(self, state: State) -> None:
        if state != self.state and self.has_room:
            self.state = state
            self.queue.put_nowait(state)

    def end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.queue.put_nowait(None)


class EventHub:
    def __init__(self, settings: Settings) -> None:
        self._url = settings.redis_url.get_secret_value()
        self._max_readers = settings.max_streams
        self._readers: dict[str, list[Reader]] = defaultdict(list)
        self._count = 0
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            self._url, decode_responses=True, socket_timeout=2, socket_connect_timeout=1, health_check_interval=10
        )
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._redis.aclose()

    def join(self, job_id: str, *, after: int) -> Reader:
        """Read a job's events behind ``after``, and its states until it starts. Leave it again with ``leave``.

        Raises:
            TooManyStreams: too many readers on this process.
        """
        if self._count >= self._max_readers:
            raise TooManyStreams(retry_after_s=10)
        reader = Reader(job_id, after)
        self._readers[job_id].append(reader)
        self._count += 1
        metrics.STREAMS.inc()
        self._woken.set()
        return reader

    def leave(self, reader: Reader) -> None:
        readers = self._readers[reader.job_id]
        readers.remove(reader)
        self._count -= 1
        metrics.STREAMS.dec()
        if not readers:
            del self._readers[reader.job_id]

    async def await_end(self, job_id: str, *, limit_s: float) -> bool:
        """Wait for a job's end. False: it has not come, or Redis does not say."""
        clock = asyncio.get_running_loop().time
        give_up, pause = clock() + limit_s, ROUND_S / 2
        while True:
            try:
                status = await cast("Any", self._redis.hget(f"job:{job_id}", "status"))
            except RedisError:
                return False
            if status is None or JobStatus(status).is_terminal:
                return True
            if (left := give_up - clock()) <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.2, LONGEST_PAUSE_S)

    async def _run(self) -> None:
        next_look = 0.0
        while True:
            if not self._readers:
                self._woken.clear()
                await self._woken.wait()
            try:
                is_behind = await self._read_streams()
                now = asyncio.get_running_loop().time()
                if now >= next_look or self._woken.is_set():
                    self._woken.clear()
                    next_look = now + STATE_EVERY_S
                    await self._read_states()
            except RedisError as error:
                log.warning("stream.delayed", error=type(error).__name__)
                await asyncio.sleep(0.5)
            except Exception:
                log.exception("stream.round_crashed")
                await asyncio.sleep(0.5)
            else:
                await asyncio.sleep(0 if is_behind else ROUND_S)

    async def _read_streams(self) -> bool:
        """True: some stream had more than one batch."""
        positions = self._positions(asyncio.get_running_loop().time())
        names, is_behind = list(positions), False
        for start in range(0, len(names), STREAMS_A_CALL):
            asked = {name: positions[name] for name in names[start : start + STREAMS_A_CALL]}
            reply: Any = await self._redis.xread(cast("Any", asked), count=BATCH)
            for name, entries in _pairs(reply):
                is_behind = is_behind or len(entries) == BATCH
                events = [Event.from_entry(entry_id, fields) for entry_id, fields in entries]
                for reader in self._readers.get(name.removeprefix("stream:"), []):
                    # One that came in during the call may ask for events from before the answer's first.
                    if reader.has_room and reader.after >= asked[name]:
                        reader.tell(events)
        return is_behind

    def _positions(self, now: float) -> dict[str, int]:
        """The event behind which to read each stream: for those of its readers that keep up."""
        positions: dict[str, int] = {}
        for job_id, readers in self._readers.items():
            keeping_up = [reader for reader in readers if reader.has_room]
            if keeping_up:
                positions[f"stream:{job_id}"] = min(reader.after for reader in keeping_up)
            for reader in readers:
                if reader.has_room:
                    reader.stalled_since = None
                elif reader.stalled_since is None:
                    reader.stalled_since = now
                elif now - reader.stalled_since > STALL_LIMIT_S:
                    reader.end()
        return positions

    async def _read_states(self) -> None:
        job_ids = list(self._readers)
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(f"job:{job_id}", ["status", "stage", "priority", "progress"])
        rows = await pipe.execute()
        ranks = self._redis.pipeline(transaction=False)
        for job_id, (_, stage, priority, _) in zip(job_ids, rows, strict=True):
            ranks.zrank(f"queue:{stage}:{priority}", job_id)
            ranks.exists(f"stream:{job_id}")
        more = await ranks.execute()
        for job_id, (status, _, _, progress), rank, exists in zip(job_ids, rows, more[::2], more[1::2], strict=True):
            for reader in self._readers.get(job_id, []):
                if status and not JobStatus(status).is_terminal:
                    reader.tell_state(State(JobStatus(status), rank, progress or ""))
                elif not exists:
                    # Its end was to come from a stream that is gone; the archive has it, for those who come back.
                    reader.end()


def _pairs(reply: Any) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """XREAD's reply is a map in RESP3, whose values are wrapped in a list, and a list of pairs in RESP2."""
    if isinstance(reply, dict):
        return [(name, batches[0]) for name, batches in reply.items() if batches]
    return [(name, entries) for name, entries in reply]
