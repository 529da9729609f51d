"""Units for retention times."""

DAY_MS = 24 * 3600 * 1000
