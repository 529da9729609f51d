"""Reads the event streams of many jobs for many subscribers, with one Redis connection and one task per process.

Every 0.1 s one XREAD asks for all streams that have subscribers, so a thousand idle subscribers cost one short call.
Workers write tokens every 0.1 s anyway, but a job's first tokens at once, so fewer streams are read more often.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from jobs.model.events import Event
from jobs.model.job import JobStatus
from jobs.table import keys
from jobs.table.scripts import script_source
from runtime.redis.pools import open_async_pool
from runtime.settings import Settings
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.1
POLL_INTERVAL_S_PER_STREAM = 0.002
"""Few streams are read more often, so that their first tokens are not delayed: a call takes about 0.2 ms."""
MIN_POLL_INTERVAL_S = 0.01
STATE_INTERVAL_S = 1.0
"""How often the states of the jobs are read. Their streams contain nothing before the generation starts."""
MAX_BATCH_EVENTS = 200
"""Events per stream and poll. A subscriber's queue holds at most two batches; Redis keeps the rest."""
STALL_LIMIT_S = 30.0
"""A subscriber whose queue stays full for this long is disconnected; it can resume with ``Last-Event-ID``."""
STREAMS_PER_CALL = 200
WAIT_POLL_S = 0.05
WAIT_POLL_S_PER_JOB = 0.001
"""The statuses of the jobs that calls wait for are read in one call, less often the more they are."""
RETRY_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job that has not ended."""

    status: JobStatus
    position: int | None
    """Position in its queue, from 0; None when a worker has claimed it."""
    media_progress: str
    """Prepared media as ``done/total``; empty when nothing is being prepared."""


@dataclass(eq=False, slots=True)
class StreamEvent:
    """An event that all subscribers of a job share."""

    event: Event
    frame: bytes = b""
    """The event as it is sent. The first subscriber that sends it sets it for all."""


@dataclass(eq=False)
class Subscription:
    """One subscriber's queue of events and states of one job."""

    job_id: str
    last_seq: int
    """Sequence number of the newest event that was put into the queue."""
    queue: "asyncio.Queue[StreamEvent | JobState | None]" = field(default_factory=asyncio.Queue)
    """None marks the end."""
    state: JobState | None = None
    stalled_since: float | None = None
    is_closed: bool = False

    @property
    def has_capacity(self) -> bool:
        return self.queue.qsize() <= MAX_BATCH_EVENTS

    async def batches(self) -> AsyncIterator[list[StreamEvent | JobState]]:
        """Yield what is in the queue, in order, until the job ends or the subscription is closed."""
        is_open = True
        while is_open:
            items = [await self.queue.get()]
            while not self.queue.empty() and len(items) < MAX_BATCH_EVENTS:
                items.append(self.queue.get_nowait())
            batch: list[StreamEvent | JobState] = []
            for item in items:
                if item is None:
                    is_open = False
                    break
                batch.append(item)
                if isinstance(item, StreamEvent) and item.event.type == "ended":
                    is_open = False
                    break
            if batch:
                yield batch

    def push_events(self, events: list[StreamEvent]) -> None:
        for item in events:
            if item.event.seq > self.last_seq:
                self.last_seq = item.event.seq
                self.queue.put_nowait(item)

    def push_state(self, state: JobState) -> None:
        """Queue a state that differs from the last one; skip it when the queue is full."""
        if state != self.state and self.has_capacity:
            self.state = state
            self.queue.put_nowait(state)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.queue.put_nowait(None)


class EventHub:
    """Distributes the events of Redis streams to the subscribers of this process."""

    def __init__(self, settings: Settings) -> None:
        self._server = settings.redis_server
        self._subscriptions: dict[str, list[Subscription]] = defaultdict(list)
        self._new_subscription = asyncio.Event()
        self._waits: dict[str, list[asyncio.Future[bool]]] = defaultdict(list)
        self._new_wait = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the polling tasks on the running event loop."""
        pool = open_async_pool(
            self._server, decode_responses=True, socket_timeout=2, socket_connect_timeout=2, health_check_interval=10
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._positions = self._redis.register_script(script_source("positions"))
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._watch_ends())]

    async def stop(self) -> None:
        """Cancel the polling tasks and close the connection."""
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._redis.aclose()

    def subscribe(self, job_id: str, *, after: int) -> Subscription:
        """Receive a job's events after sequence number ``after``, and its states until it starts.

        The caller must ``unsubscribe``.
        """
        subscription = Subscription(job_id, after)
        self._subscriptions[job_id].append(subscription)
        metrics.STREAMS.inc()
        self._new_subscription.set()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        subscriptions = self._subscriptions[subscription.job_id]
        subscriptions.remove(subscription)
        metrics.STREAMS.dec()
        if not subscriptions:
            del self._subscriptions[subscription.job_id]

    async def wait_until_ended(self, job_id: str, *, limit_s: float) -> bool:
        """Wait for a job to end. Return False after ``limit_s`` seconds, or when Redis does not answer."""
        end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waits = self._waits[job_id]
        waits.append(end)
        self._new_wait.set()
        try:
            return await asyncio.wait_for(end, limit_s)
        except TimeoutError:
            return False
        finally:
            waits.remove(end)
            if not waits:
                self._waits.pop(job_id, None)

    async def _watch_ends(self) -> None:
        while True:
            if not self._waits:
                self._new_wait.clear()
                await self._new_wait.wait()
            job_ids = list(self._waits)
            for start in range(0, len(job_ids), STREAMS_PER_CALL):
                await self._read_ends(job_ids[start : start + STREAMS_PER_CALL])
            await asyncio.sleep(max(WAIT_POLL_S, len(job_ids) * WAIT_POLL_S_PER_JOB))

    async def _read_ends(self, job_ids: list[str]) -> None:
        calls = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            calls.hget(keys.job(job_id), "status")
        try:
            statuses = await calls.execute()
        except RedisError:
            ends: list[bool | None] = [False] * len(job_ids)
        else:
            ends = [status is None or JobStatus(status).is_terminal or None for status in statuses]
        for job_id, has_ended in zip(job_ids, ends, strict=True):
            for end in self._waits.get(job_id, []):
                if has_ended is not None and not end.done():
                    end.set_result(has_ended)

    async def _run(self) -> None:
        next_state_read = 0.0
        while True:
            if not self._subscriptions:
                self._new_subscription.clear()
                await self._new_subscription.wait()
            try:
                has_more = await self._read_streams()
                now = asyncio.get_running_loop().time()
                if now >= next_state_read or self._new_subscription.is_set():
                    self._new_subscription.clear()
                    next_state_read = now + STATE_INTERVAL_S
                    await self._read_states()
            except RedisError as error:
                log.warning("stream.poll_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_INTERVAL_S)
            except Exception:
                log.exception("stream.poll_crashed")
                await asyncio.sleep(RETRY_INTERVAL_S)
            else:
                wanted = max(MIN_POLL_INTERVAL_S, len(self._subscriptions) * POLL_INTERVAL_S_PER_STREAM)
                await asyncio.sleep(0 if has_more else min(wanted, POLL_INTERVAL_S))

    async def _read_streams(self) -> bool:
        """Read one batch of every stream. Return True when a stream has more."""
        positions = self._read_positions(asyncio.get_running_loop().time())
        names, has_more = list(positions), False
        for start in range(0, len(names), STREAMS_PER_CALL):
            requested = {name: positions[name] for name in names[start : start + STREAMS_PER_CALL]}
            reply: Any = await self._redis.xread(cast("Any", requested), count=MAX_BATCH_EVENTS)
            for name, entries in _entries_by_stream(reply):
                has_more = has_more or len(entries) == MAX_BATCH_EVENTS
                events = [StreamEvent(Event.from_entry(entry_id, fields)) for entry_id, fields in entries]
                for subscription in self._subscriptions.get(name.removeprefix(keys.stream("")), []):
                    # A subscription made during the call may need events from before the first one in the reply.
                    if subscription.has_capacity and subscription.last_seq >= requested[name]:
                        subscription.push_events(events)
        return has_more

    def _read_positions(self, now: float) -> dict[str, int]:
        """Return the event after which to read each stream, and close the subscriptions that stall.

        A subscription with a full queue does not delay the others: it is skipped until it has capacity.
        """
        positions: dict[str, int] = {}
        for job_id, subscriptions in self._subscriptions.items():
            ready = [subscription for subscription in subscriptions if subscription.has_capacity]
            if ready:
                positions[keys.stream(job_id)] = min(subscription.last_seq for subscription in ready)
            for subscription in subscriptions:
                if subscription.has_capacity:
                    subscription.stalled_since = None
                elif subscription.stalled_since is None:
                    subscription.stalled_since = now
                elif now - subscription.stalled_since > STALL_LIMIT_S:
                    subscription.close()
        return positions

    async def _read_states(self) -> None:
        job_ids = list(self._subscriptions)
        records = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            records.hmget(keys.job(job_id), ["status", "progress"])
        rows = await records.execute()
        lookups = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            lookups.exists(keys.stream(job_id))
        found = await lookups.execute()
        positions = await self._read_queue_positions(job_ids)
        for job_id, (status, progress), position, exists in zip(job_ids, rows, positions, found, strict=True):
            for subscription in self._subscriptions.get(job_id, []):
                if status and not JobStatus(status).is_terminal:
                    subscription.push_state(JobState(JobStatus(status), position, progress or ""))
                elif not exists:
                    # The stream with the job's last event is gone; a client that reconnects reads the archive.
                    subscription.close()

    async def _read_queue_positions(self, job_ids: list[str]) -> list[int | None]:
        """Return the estimated position of each job; None: it does not wait, or the job table is lost."""
        positions: list[int | None] = []
        for start in range(0, len(job_ids), STREAMS_PER_CALL):
            part = job_ids[start : start + STREAMS_PER_CALL]
            reply: list[str | int] = await self._positions(args=part)
            found = reply[1:] if reply[0] == "ok" else [""] * len(part)
            positions += [None if position == "" else int(position) for position in found]
        return positions


def _entries_by_stream(reply: Any) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Convert an XREAD reply: in RESP3 a map whose values are wrapped in a list, in RESP2 a list of pairs."""
    if isinstance(reply, dict):
        return [(name, batches[0]) for name, batches in reply.items() if batches]
    return [(name, entries) for name, entries in reply]
