"""Tokens and GPU time used by one job, or by a tenant on one day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

USAGE_RETENTION_MS = 400 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    gpu_ms: int = 0

    @classmethod
    def from_result(cls, usage: Mapping[str, float]) -> "Usage":
        """Read a result's ``usage``, which has the GPU time in seconds."""
        tokens = {kind: int(usage.get(kind, 0)) for kind in ("input_tokens", "thinking_tokens", "answer_tokens")}
        return cls(**tokens, gpu_ms=round(usage.get("gpu_seconds", 0) * 1000))


@dataclass(frozen=True, slots=True)
class DayUsage:
    day: date
    """UTC; a job counts on the day it ends."""
    jobs: dict[str, int]
    """Number of jobs by terminal status."""
    usage: Usage


def today() -> date:
    """Return the current day in UTC."""
    return datetime.now(UTC).date()
