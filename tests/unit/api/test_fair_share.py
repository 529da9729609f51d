"""Sharing between tenants."""

import asyncio

import pytest

from api.middleware.fairness.active_tenants import ACTIVE_S
from api.middleware.fairness.fair_share import FairShare
from jobs.errors import TooManyCalls


def share(
    total: int = 4,
    *,
    per_tenant: int = 2,
    max_waiting: int = 10,
    limit_s: float = 30,
    beside_others: int | None = None,
    active_s: float = ACTIVE_S,
) -> FairShare:
    return FairShare(
        total,
        per_tenant=per_tenant,
        max_waiting=max_waiting,
        limit_s=limit_s,
        refusal=lambda: TooManyCalls(),
        beside_others=beside_others,
        active_s=active_s,
    )


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_tenant_at_its_limit_waits_and_another_one_does_not() -> None:
    async def scenario() -> None:
        calls = share()
        await calls.acquire("a")
        await calls.acquire("a")
        third = asyncio.ensure_future(calls.acquire("a"))
        await settle()
        assert not third.done()
        await calls.acquire("b")
        calls.release("a", 1)
        assert await third == 1

    asyncio.run(scenario())


def test_free_units_go_to_the_tenants_in_turns() -> None:
    async def scenario() -> None:
        calls, order = share(1, per_tenant=1), []

        async def call(tenant: str) -> None:
            async with calls.hold(tenant):
                order.append(tenant)
                await settle()

        await calls.acquire("x")
        tasks = [asyncio.ensure_future(call(tenant)) for tenant in "aaaabbc"]
        await settle()
        calls.release("x", 1)
        await asyncio.gather(*tasks)
        assert "".join(order) == "abcabaa"

    asyncio.run(scenario())


def test_who_waits_too_long_or_finds_too_many_waiting_is_refused() -> None:
    async def scenario() -> None:
        calls = share(1, max_waiting=1, limit_s=0.01)
        await calls.acquire("a")
        waiting = asyncio.ensure_future(calls.acquire("a"))
        await settle()
        with pytest.raises(TooManyCalls):
            await calls.acquire("a")
        with pytest.raises(TooManyCalls):
            await waiting
        calls.release("a", 1)
        assert await calls.acquire("b") == 1  # nothing is left behind

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    async def scenario() -> None:
        calls = share(1)
        await calls.acquire("a")
        first, second = (asyncio.ensure_future(calls.acquire(tenant)) for tenant in "ab")
        await settle()
        calls.release("a", 1)
        first.cancel()  # in the same moment in which it gets its turn
        await settle()
        if not first.cancelled():
            calls.release("a", 1)
        assert await second == 1

    asyncio.run(scenario())


def test_a_request_for_more_than_its_tenants_limit_gets_all_of_it() -> None:
    async def scenario() -> None:
        memory = share(10, per_tenant=4)
        assert await memory.acquire("a", 100) == 4
        next_one = asyncio.ensure_future(memory.acquire("a", 1))
        await settle()
        assert not next_one.done()
        memory.release("a", 4)
        assert await next_one == 1

    asyncio.run(scenario())


def test_a_share_without_waiting_refuses_and_recovers() -> None:
    async def scenario() -> None:
        streams = share(per_tenant=1, max_waiting=0)
        await streams.acquire("a")
        for _ in range(2):
            with pytest.raises(TooManyCalls):
                await streams.acquire("a")
        streams.release("a", 1)
        assert await streams.acquire("a") == 1

    asyncio.run(scenario())


def test_a_tenant_gets_fewer_units_while_another_one_is_active() -> None:
    async def scenario() -> None:
        calls = share(8, per_tenant=4, beside_others=2, active_s=1.0)
        for _ in range(4):
            await calls.acquire("a")
        await calls.acquire("b")
        waiting = [asyncio.ensure_future(calls.acquire("a")) for _ in range(3)]
        for expected in (0, 0, 0, 1):
            await settle()
            assert sum(call.done() for call in waiting) == expected, "two at a time, once it holds no more than two"
            calls.release("a", 1)
        await asyncio.sleep(1.1)
        calls.release("b", 1)
        await settle()
        assert all(call.done() for call in waiting)
        await calls.acquire("a")

    asyncio.run(scenario())
