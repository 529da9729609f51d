"""Slots are shared between tenants: one that floods the worker leaves room for others."""

import pytest

from worker.prepare.fair_slots import FairSlots, no_more_than_remain_free, reserve_for_others


def test_a_tenant_alone_takes_all_and_the_reserve_is_for_tenants_without_a_slot() -> None:
    slots = FairSlots(reserve_for_others(2, reserve=1))
    flood = [slots.request("a") for _ in range(5)]
    assert [ticket.granted.done() for ticket in flood] == [True, True, False, False, False]
    other = [slots.request("b") for _ in range(2)]
    assert [ticket.granted.done() for ticket in other] == [True, False]
    slots.release(other[0])
    assert other[1].granted.done(), "it waited after the jobs of the tenant that has slots"
    assert not any(ticket.granted.done() for ticket in flood[2:])


def test_a_tenant_leaves_as_many_slots_free_as_it_has() -> None:
    slots = FairSlots(no_more_than_remain_free(12))
    counts = {tenant: sum(slots.request(tenant).granted.done() for _ in range(20)) for tenant in "abcd"}
    assert counts == {"a": 6, "b": 3, "c": 2, "d": 1}, "there is always a slot for the next tenant, until none is left"


def test_a_free_slot_goes_to_the_tenant_with_the_fewest() -> None:
    slots = FairSlots(lambda _, total: total < 3)
    first, *_ = [slots.request("a") for _ in range(3)]
    waiting_a, waiting_b = slots.request("a"), slots.request("b")
    slots.release(first)
    assert waiting_b.granted.done()
    assert not waiting_a.granted.done()


def test_a_stopped_wait_returns_its_place() -> None:
    slots = FairSlots(lambda _, total: total < 1)
    held = slots.request("a")

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError), slots.slot("b", stop):
        pass
    slots.release(held)
    assert slots.is_unused
