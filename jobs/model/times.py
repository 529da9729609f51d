"""The format of all times in documents: RFC 3339 in UTC with milliseconds, such as ``2026-11-23T20:00:09.250Z``."""

import time
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time as documents contain it, for pydantic models."""


def format_time(moment_ms: int) -> str:
    """Format milliseconds since 1970."""
    seconds, milliseconds = divmod(moment_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def format_time_if_set(moment_ms: int) -> str | None:
    """Format milliseconds since 1970; None for 0, which means that the time is not known."""
    return format_time(moment_ms) if moment_ms else None


def parse_time(text: str) -> datetime:
    """Read a time of a document."""
    return datetime.fromisoformat(text)


def now() -> str:
    """Return the present time as documents contain it."""
    return format_time(now_ms())


def now_ms() -> int:
    """Return the present time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
