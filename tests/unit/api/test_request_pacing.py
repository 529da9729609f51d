"""How requests of a key are spread while other tenants are active."""

import pytest

from api.middleware.fairness.active_tenants import ACTIVE_S
from api.middleware.fairness.request_pacing import BURST_S, MAX_DELAY_S, MAX_INTERVAL_S, MAX_KEYS, RequestPacer

INTERVAL_S = 0.05


def delays(
    pacer: RequestPacer, count: int, *, now: float, tenant: str = "a", interval_s: float = INTERVAL_S
) -> list[float]:
    """Return how long requests that arrive at the same time wait."""
    return [pacer.delay_s(tenant, f"key_{tenant}", interval_s, now) for _ in range(count)]


def test_a_burst_beside_another_tenant_is_spread_at_the_rate_of_the_key() -> None:
    pacer = RequestPacer()
    assert delays(pacer, 1, now=0.0, tenant="b") == [0.0]
    found = delays(pacer, 50, now=0.0)
    prompt = round(BURST_S / INTERVAL_S)
    assert found[:prompt] == pytest.approx([0.0] * prompt)
    assert found[prompt:] == pytest.approx([INTERVAL_S * (1 + number) for number in range(50 - prompt)])


def test_a_post_takes_the_turns_of_two_requests() -> None:
    pacer = RequestPacer()
    delays(pacer, 1, now=0.0, tenant="b")
    found = [pacer.delay_s("a", "key_a", INTERVAL_S / 2, 0.0, method="POST") for _ in range(50)]
    prompt = round(BURST_S / INTERVAL_S)
    assert found[prompt:] == pytest.approx([INTERVAL_S * (1 + number) for number in range(50 - prompt)])


def test_a_tenant_alone_does_not_wait() -> None:
    pacer = RequestPacer()
    assert set(delays(pacer, 500, now=0.0)) == {0.0}
    delays(pacer, 1, now=1.0, tenant="b")
    assert delays(pacer, 1, now=1.1)[0] > 0, "it is ahead of its rate when another one comes"
    assert delays(pacer, 1, now=1.1 + ACTIVE_S)[0] == 0.0, "the other one has gone"


def test_a_tenant_within_its_rate_does_not_wait() -> None:
    pacer = RequestPacer()
    for number in range(200):
        delays(pacer, 20, now=number * INTERVAL_S)
        assert delays(pacer, 1, now=number * INTERVAL_S, tenant="b") == [0.0]


def test_no_request_waits_longer_than_the_limit_and_the_debt_is_bounded() -> None:
    pacer = RequestPacer()
    delays(pacer, 1, now=0.0, tenant="b")
    assert max(delays(pacer, 10_000, now=0.0)) == MAX_DELAY_S
    later = MAX_DELAY_S + BURST_S
    delays(pacer, 1, now=later, tenant="b")
    assert delays(pacer, 1, now=later) == [0.0]


def test_a_key_with_a_low_limit_is_not_slowed_down() -> None:
    pacer = RequestPacer()
    delays(pacer, 1, now=0.0, tenant="b")
    assert set(delays(pacer, round(BURST_S / MAX_INTERVAL_S), now=0.0, interval_s=60.0)) == {0.0}


def test_keys_that_send_nothing_more_are_forgotten() -> None:
    pacer = RequestPacer()
    for number in range(3 * MAX_KEYS):
        pacer.delay_s("a", f"key_{number}", INTERVAL_S, number * 1.0)
    assert len(pacer._due) <= MAX_KEYS
