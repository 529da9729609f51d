"""Units for retention times, and the longest time that a job may wait."""

DAY_S = 24 * 3600
DAY_MS = DAY_S * 1000

MAX_EXPIRES_S = 7 * DAY_S
"""The largest ``expires_in`` of a request."""
