"""Decides whether and when a delivery is attempted again."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from jobs.model.retry_schedule import MAX_ATTEMPTS, MAX_RETRY_AFTER_S, RETRY_DELAYS_S, RETRY_JITTER
from jobs.table.deliveries import DeliveryState

GONE = 410


def state_after_attempt(status: int | None, attempts: int) -> DeliveryState:
    """Return a delivery's state after an attempt.

    Only 2xx counts as delivered. 410 stops the delivery, and so does the last attempt of the schedule.

    Args:
        status: HTTP status of the response; None: there was no response.
        attempts: attempts so far, this one included.
    """
    if status is not None and 200 <= status < 300:
        return "delivered"
    if status == GONE or attempts >= MAX_ATTEMPTS:
        return "abandoned"
    return "pending"


def retry_delay_s(attempts: int) -> float:
    """Return the seconds to wait after ``attempts`` attempts, with jitter."""
    delay = RETRY_DELAYS_S[min(attempts, len(RETRY_DELAYS_S)) - 1]
    return delay * random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)  # noqa: S311 - not a secret


def parse_retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Read ``Retry-After``, which is a number of seconds or a date.

    Args:
        headers: of the response, with lower-case names.
        now: the current time, for a date.

    Returns:
        Seconds, at most ``MAX_RETRY_AFTER_S``; 0 when the header is missing or malformed.
    """
    value = str(headers.get("retry-after", "")).strip()
    if value.isdecimal() and value.isascii():
        return float(min(int(value[:9]), MAX_RETRY_AFTER_S))
    try:
        at = parsedate_to_datetime(value)
        wait = at - (now or datetime.now(UTC)) if at.tzinfo else timedelta()
    except (ValueError, OverflowError, TypeError):  # a year of eleven digits overflows
        return 0.0
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER_S)
