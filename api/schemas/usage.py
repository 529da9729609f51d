"""The usage of a tenant."""

from typing import Literal

from api.schemas import examples
from api.schemas.base import Reply, with_example
from jobs.model.times import Time


class DailyUsage(Reply):
    """The usage of one day."""

    day: str
    """The UTC day, such as `2026-11-23`."""
    jobs: dict[str, int]
    """Ended jobs by terminal status."""
    input_tokens: int
    """Tokens of prompts, media included."""
    thinking_tokens: int
    """Generated thinking tokens."""
    answer_tokens: int
    """Generated answer tokens."""
    gpu_seconds: float
    """Time on the generate worker. Jobs in the same batch share it."""


class Quota(Reply):
    """What a tenant may use in a day or a month, UTC."""

    name: str
    """`tokens_per_day`, `tokens_per_month`, `gpu_hours_per_day` or `gpu_hours_per_month`."""
    limit: float
    """When it is reached, new jobs get a 429, `quota_exceeded`. Jobs that run are not stopped."""
    used: float
    """Of all jobs of the tenant that have ended since the start of the day or month."""
    resets_at: Time
    """Start of the next day or month."""


class UsageReply(Reply):
    """A tenant's usage by day."""

    model_config = with_example(examples.USAGE)

    object: Literal["list"] = "list"
    data: list[DailyUsage]
    """The UTC days on which a job ended, oldest first."""
    quotas: list[Quota]
    """Those of the API key; empty if it has none."""
