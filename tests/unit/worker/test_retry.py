"""Whether and when a delivery is attempted again."""

from datetime import UTC, datetime

import pytest

from jobs.model.retry_schedule import MAX_ATTEMPTS, RETRY_DELAYS_S, RETRY_JITTER
from worker.keeper.delivery.retry import parse_retry_after_s, retry_delay_s, state_after_attempt


@pytest.mark.parametrize(
    ("status", "attempts", "expected"),
    [
        (200, 1, "delivered"),
        (299, 10, "delivered"),
        (301, 1, "pending"),
        (404, 1, "pending"),
        (410, 1, "abandoned"),
        (500, 9, "pending"),
        (500, 10, "abandoned"),
        (None, 1, "pending"),
    ],
)
def test_the_state_after_an_attempt_depends_on_status_and_number(
    status: int | None, attempts: int, expected: str
) -> None:
    assert state_after_attempt(status, attempts) == expected


def test_retries_follow_the_documented_schedule_with_jitter() -> None:
    for attempts, delay_s in enumerate(RETRY_DELAYS_S, start=1):
        assert delay_s * (1 - RETRY_JITTER) <= retry_delay_s(attempts) <= delay_s * (1 + RETRY_JITTER)
    assert sum(RETRY_DELAYS_S) > 3 * 86_400
    assert MAX_ATTEMPTS == 10


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("9" * 30, 86_400),
        ("-5", 0),
        ("", 0),
        ("soon", 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 90),
        ("Wed, 21 Oct 2026 07:20:00 GMT", 0),
        ("Wed, 28 Oct 2026 07:28:00 GMT", 86_400),
        ("Wed, 21 Oct 20260000000 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("21 Oct 2026 07:28:00 +99999999999999", 0),
    ],
)
def test_retry_after_is_honored_up_to_a_day(value: str, seconds: float) -> None:
    now = datetime(2026, 10, 21, 7, 26, 30, tzinfo=UTC)
    assert parse_retry_after_s({"retry-after": value}, now) == seconds
