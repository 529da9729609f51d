"""Webhooks: the requests that ask for them, secrets and deliveries. ``webhook_events.py`` describes the events."""

from typing import Annotated, Literal

from pydantic import ConfigDict, FailFast, Field

from api.schemas import examples
from api.schemas.base import Reply, RequestBody, with_example
from api.schemas.checks.urls import HttpUrl
from jobs.model.times import Time

TerminalEvent = Literal["job.completed", "job.failed", "job.cancelled", "job.expired"]


class CallbackBody(RequestBody):
    """Where and for which events to send a webhook."""

    url: HttpUrl
    """Receives the webhook as a POST."""
    events: Annotated[
        list[TerminalEvent],
        FailFast(),
        Field(
            min_length=1,
            max_length=16,
            default_factory=lambda: ["job.completed", "job.failed", "job.cancelled", "job.expired"],
        ),
    ]
    """The terminal events to send. Default: all."""


class RotateBody(RequestBody):
    """How to rotate the webhook secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keep_old_secret_active_for_24_hours": True}]})

    keep_old_secret_active_for_24_hours: bool = True
    """True: webhooks carry a second signature with the old secret for 24 hours. False: it stops signing at once."""


class SecretReply(Reply):
    """The tenant's webhook secret."""

    model_config = with_example(examples.SECRET)

    object: Literal["webhook_secret"] = "webhook_secret"
    version: int
    """Increases with each rotation."""
    rotated_at: Time | None
    """Time of the last rotation; null before the first."""
    old_secret_expires_at: Time | None
    """Until then webhooks carry two signatures, one with the old secret. Null when only one secret signs."""
    secret: str | None
    """The secret; only the reply to a rotation contains it."""


class TestEventBody(RequestBody):
    """Where to send a test event."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/hook", "event_type": "job.completed"}]}
    )

    url: HttpUrl
    """Receives the test event as a POST."""
    event_type: TerminalEvent = "job.completed"
    """Type of the test event."""


class AttemptReply(Reply):
    """One attempt of a delivery."""

    at: Time
    """Time of the attempt."""
    status: int | None
    """The receiver's HTTP status. Null when there was no response; `error` says why."""
    error: str | None
    """Why there was no response; null when there was one."""
    latency_ms: int
    """Duration of the attempt."""
    reply: str
    """The first 512 bytes of the receiver's response; empty if its address is not public."""


class DeliveryReply(Reply):
    """A webhook, or the upload of a result copy, with its attempts."""

    model_config = with_example(examples.DELIVERY)

    id: str
    """Id of the webhook's event; for a result copy `copy_<job>_<number>`."""
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_type: str
    """Type of the event; `result.copy` for a result copy."""
    state: Literal["pending", "delivered", "abandoned"]
    """`pending`: another attempt follows. `abandoned`: the attempts are used up, or the receiver answered 410."""
    attempts: list[AttemptReply]
    """Oldest first."""


class DeliveryList(Reply):
    """The deliveries of a job."""

    model_config = with_example(examples.DELIVERY_LIST)

    object: Literal["list"] = "list"
    data: list[DeliveryReply]
    """The job's webhook and its result copies."""
