"""Slots per receiving host."""

from worker.keeper.delivery.host_limiter import MAX_CONCURRENT_PER_HOST, MAX_WAIT_S, MIN_WAIT_S, HostLimiter


def test_a_host_has_a_bounded_number_of_slots() -> None:
    hosts = HostLimiter()
    assert [hosts.acquire("a") for _ in range(MAX_CONCURRENT_PER_HOST)] == [0.0] * MAX_CONCURRENT_PER_HOST
    assert hosts.acquire("a") >= MIN_WAIT_S
    assert hosts.acquire("b") == 0.0, "another host has slots of its own"
    hosts.release("a", duration_s=0.1)
    assert hosts.acquire("a") == 0.0


def test_waiting_callers_of_a_slow_host_are_spread_over_time() -> None:
    hosts = HostLimiter()
    for _ in range(MAX_CONCURRENT_PER_HOST):
        hosts.acquire("a")
    hosts.release("a", duration_s=160)
    hosts.acquire("a")
    waits = [hosts.acquire("a") for _ in range(20)]
    assert waits == sorted(waits)
    assert waits[0] > 1, "one slot is expected per eighth of the average duration"
    assert waits[-1] == MAX_WAIT_S
