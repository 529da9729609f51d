"""Slots per tenant and receiving address."""

from worker.keeper.delivery.address_limiter import (
    MAX_PER_ADDRESS,
    MAX_PER_TENANT,
    MAX_WAIT_S,
    MIN_WAIT_S,
    AddressLimiter,
)

A, B = "198.51.100.1", "198.51.100.2"


def fill(limiter: AddressLimiter, tenant: str, *addresses: str) -> None:
    assert [limiter.acquire(tenant, addresses) for _ in range(MAX_PER_TENANT)] == [0.0] * MAX_PER_TENANT


def test_a_tenant_has_a_bounded_number_of_slots_at_an_address() -> None:
    limiter = AddressLimiter()
    fill(limiter, "t", A)
    assert limiter.acquire("t", [A]) >= MIN_WAIT_S
    assert limiter.acquire("t", [B]) == 0.0, "another address has slots of its own"
    limiter.release("t", [A], duration_s=0.1)
    assert limiter.acquire("t", [A]) == 0.0


def test_a_tenant_that_fills_an_address_leaves_room_for_another_tenant() -> None:
    limiter = AddressLimiter()
    for number in range(MAX_PER_ADDRESS // MAX_PER_TENANT):
        fill(limiter, f"t{number}", A)
    assert limiter.acquire("late", [A]) == 0.0, "its first request is sent although the address is full"
    assert limiter.acquire("late", [A]) >= MIN_WAIT_S


def test_more_addresses_give_no_more_slots_at_one_of_them() -> None:
    limiter = AddressLimiter()
    fill(limiter, "t", A, B)
    assert limiter.acquire("t", [B, "198.51.100.3"]) >= MIN_WAIT_S
    assert limiter.acquire("t", ["198.51.100.3"]) == 0.0, "a refused request takes no slot"


def test_the_addresses_of_an_ipv6_network_are_counted_as_one() -> None:
    limiter = AddressLimiter()
    for number in range(MAX_PER_TENANT):
        assert limiter.acquire("t", [f"2001:db8:0:1::{number:x}"]) == 0.0
    assert limiter.acquire("t", ["2001:db8:0:1:ffff::1"]) >= MIN_WAIT_S
    assert limiter.acquire("t", ["2001:db8:0:2::1"]) == 0.0
    fill(limiter, "t", A)
    assert limiter.acquire("t", [f"::ffff:{A}"]) >= MIN_WAIT_S


def test_waiting_callers_of_a_slow_receiver_are_spread_over_time() -> None:
    limiter = AddressLimiter()
    fill(limiter, "t", A)
    limiter.release("t", [A], duration_s=160)
    limiter.acquire("t", [A])
    waits = [limiter.acquire("t", [A]) for _ in range(20)]
    assert waits == sorted(waits)
    assert waits[0] > 1, "one slot is expected per eighth of the average duration"
    assert waits[-1] == MAX_WAIT_S


def test_nothing_is_kept_of_an_address_without_requests() -> None:
    limiter = AddressLimiter()
    limiter.acquire("t", [A, B])
    limiter.release("t", [A, B], duration_s=1)
    assert not limiter._slots
    assert not limiter._per_address
