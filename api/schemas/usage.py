"""The usage of a tenant."""

from typing import Literal

from api.schemas import examples
from api.schemas.base import Reply, with_example


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


class UsageReply(Reply):
    """A tenant's usage by day."""

    model_config = with_example(examples.USAGE)

    object: Literal["list"] = "list"
    data: list[DailyUsage]
    """The UTC days on which a job ended, oldest first."""
