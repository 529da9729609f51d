"""When a failed delivery is retried. The keeper follows this schedule; the API documents it."""

RETRY_DELAYS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds between two attempts of one delivery. The first attempt is made at once."""
MAX_ATTEMPTS = len(RETRY_DELAYS_S) + 1
RETRY_JITTER = 0.2
"""Each delay varies by this share, so that a receiver that recovers is not overrun."""
MAX_RETRY_AFTER_S = 86_400
"""Longest ``Retry-After`` that is honored."""
