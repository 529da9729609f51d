"""A tenant that uses decoders a lot is recognized, next to the others, and forgotten with time."""

from worker.prepare.decoding.recent_use import MANY_SECONDS, MEMORY_S, RecentUse


def test_a_tenant_that_uses_far_more_than_others_is_heavy() -> None:
    use = RecentUse()
    use.add("light", MANY_SECONDS + 1)
    assert use.is_heavy("light"), "nobody uses more"
    for _ in range(5):
        use.add("flood", 4)
    assert use.is_heavy("flood")
    assert not use.is_heavy("light")
    assert not use.is_heavy("idle")


def test_use_is_forgotten() -> None:
    now = 0.0
    use = RecentUse(clock=lambda: now)
    use.add("a", 4)
    now += MEMORY_S
    assert not use.is_heavy("a")
    now += 20 * MEMORY_S
    use.add("b", 1)
    assert set(use._used) == {"b"}
