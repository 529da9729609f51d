"""The probes."""

from typing import Literal

from api.schemas import examples
from api.schemas.base import Reply, with_example


class LiveReply(Reply):
    """The process runs."""

    model_config = with_example({"status": "live"})

    status: Literal["live"]


class ReadyReply(Reply):
    """The process can answer."""

    model_config = with_example({"status": "ready"})

    status: Literal["ready"]


class HealthReply(Reply):
    """Whether the service can accept jobs."""

    model_config = with_example(examples.HEALTH)

    status: Literal["ok", "unavailable"]
    """`ok` when all checks are `ok`."""
    checks: dict[str, str]
    """By server: `ok`, or what is wrong."""
    workers: dict[str, int]
    """Ready workers by stage. Accepting jobs does not need them."""
