"""What the requests of one api process share, and how much of it one tenant may hold."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import anyio
from fastapi import Request

from api.middleware.fairness.fair_share import FairShare, tenant_of
from jobs.errors import TooManyBodies, TooManyCalls, TooManyStreams, TooManyWaits
from runtime.settings import Settings

PARSERS = 2
"""Large bodies that are parsed at the same time. They compete for Python's global lock, so more would not be faster."""
BODIES_PER_TENANT, ALL_BODIES = 2, 8
"""Large bodies in memory, in multiples of ``MAX_BODY_BYTES``."""
PROCESSED_BODIES = 2
"""Large bodies that are parsed, decoded and stored at the same time: each takes several times its size. With 16 of them
a process took 1.8 GiB (tests/integration/api/test_body_memory.py)."""
BODIES_BESIDE_OTHERS = 1
"""Of these, while another tenant sends requests: each takes a processor for a while."""
CALLS_PER_TENANT, CALLS_BESIDE_OTHERS, ALL_CALLS = 16, 4, 60
"""Calls that handlers work on. A call beyond these waits. The limit keeps the threads free for other tenants; while
another tenant sends calls, it is lower, so that these wait for few others that compete for Python's global lock."""
LOOKUPS_PER_KEY, LOOKUPS_BESIDE_OTHERS, ALL_LOOKUPS = 8, 2, 24
"""Lookups of API keys."""
REPLAYS_PER_TENANT, ALL_REPLAYS = 1, 4
"""Event streams of ended jobs that are read and encoded at the same time, which takes processor time."""
MAX_WAITING = 1_000
"""Requests of one tenant that wait for the same thing."""
CALL_LIMIT_S = 10.0
BODY_LIMIT_S = 60.0
RETRY_AFTER_S = 10


@dataclass(frozen=True)
class Shares:
    """One for each api process."""

    bodies: FairShare
    """Bytes of large bodies, from their first byte until their job is accepted."""
    processing: FairShare
    """Large bodies, from their last byte until their job is accepted."""
    parsers: FairShare
    parser_threads: anyio.CapacityLimiter
    calls: FairShare
    streams: FairShare
    waits: FairShare
    """Calls with ``Prefer: wait``."""

    @classmethod
    def from_settings(cls, settings: Settings, *, max_connections: int) -> "Shares":
        streams = min(settings.max_streams, max(1, max_connections // 2))
        waits = min(settings.max_streams, max(1, max_connections // 4))
        body = settings.max_body_bytes
        return cls(
            bodies=FairShare(
                ALL_BODIES * body,
                per_tenant=BODIES_PER_TENANT * body,
                max_waiting=MAX_WAITING,
                limit_s=BODY_LIMIT_S,
                refusal=TooManyBodies,
            ),
            processing=FairShare(
                PROCESSED_BODIES,
                per_tenant=PROCESSED_BODIES,
                max_waiting=MAX_WAITING,
                limit_s=BODY_LIMIT_S,
                refusal=TooManyBodies,
                beside_others=BODIES_BESIDE_OTHERS,
            ),
            parsers=FairShare(
                PARSERS,
                per_tenant=PARSERS,
                max_waiting=MAX_WAITING,
                limit_s=BODY_LIMIT_S,
                refusal=TooManyBodies,
                beside_others=BODIES_BESIDE_OTHERS,
            ),
            parser_threads=anyio.CapacityLimiter(PARSERS),
            calls=_with_waiting(ALL_CALLS, CALLS_PER_TENANT, beside_others=CALLS_BESIDE_OTHERS),
            streams=_without_waiting(streams, settings.max_streams_per_tenant, TooManyStreams),
            waits=_without_waiting(waits, settings.max_waits_per_tenant, TooManyWaits),
        )


def lookup_share() -> FairShare:
    """Return the share of API keys in lookups. Requests with an unknown key together have the share of one key."""
    return _with_waiting(ALL_LOOKUPS, LOOKUPS_PER_KEY, beside_others=LOOKUPS_BESIDE_OTHERS)


def replay_share() -> FairShare:
    """Return the share of tenants in reading the event streams of ended jobs."""
    return _with_waiting(ALL_REPLAYS, REPLAYS_PER_TENANT)


def _with_waiting(total: int, per_tenant: int, *, beside_others: int | None = None) -> FairShare:
    return FairShare(
        total,
        per_tenant=per_tenant,
        max_waiting=MAX_WAITING,
        limit_s=CALL_LIMIT_S,
        refusal=TooManyCalls,
        beside_others=beside_others,
    )


def _without_waiting(total: int, per_tenant: int, error: type[TooManyStreams | TooManyWaits]) -> FairShare:
    refusal = partial(error, retry_after_s=RETRY_AFTER_S)
    return FairShare(total, per_tenant=per_tenant, max_waiting=0, limit_s=0, refusal=refusal)


class CallSlot:
    """The slot of a call among those that handlers work on."""

    def __init__(self, calls: FairShare, tenant: str) -> None:
        self._calls = calls
        self._tenant = tenant
        self._is_held = False

    async def acquire(self) -> None:
        await self._calls.acquire(self._tenant)
        self._is_held = True

    def release(self) -> None:
        """Return the slot. A call that only waits, such as one with ``Prefer: wait``, returns it early."""
        if self._is_held:
            self._is_held = False
            self._calls.release(self._tenant, 1)


async def call_slot(request: Request) -> AsyncIterator[None]:
    """Hold a slot while the route's function runs; a dependency. Raises TooManyCalls."""
    shares: Shares = request.app.state.shares
    request.state.call_slot = slot = CallSlot(shares.calls, tenant_of(request.scope))
    await slot.acquire()
    try:
        yield
    finally:
        slot.release()


def release_call(request: Request) -> None:
    """Return what a call holds that only waits from now on: its slot, and the memory of its body."""
    request.state.call_slot.release()
    request.state.held_body.release()
