"""The parameters that several routes share."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path
from pydantic import AfterValidator

from api.dependencies import Services, services
from api.middleware.access.auth import caller
from jobs.errors import DeliveryNotFound, Invalid, NotFound, Problem
from jobs.tenants.api_key import ApiKey

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""Every id has this form. Other text in a path cannot name anything, and must not become a part of a Redis key."""


def _check_job_id(job_id: str) -> str:
    if not ID.fullmatch(job_id):
        raise NotFound
    return job_id


def _check_delivery_id(delivery_id: str) -> str:
    if not ID.fullmatch(delivery_id):
        raise DeliveryNotFound
    return delivery_id


Caller = Annotated[ApiKey, Depends(caller)]
Service = Annotated[Services, Depends(services)]
JobId = Annotated[
    str,
    AfterValidator(_check_job_id),
    Path(description="Id of the job.", examples=["job_01K9ZXV4T8Q2M6R0C5B7N3D1FG"]),
]
DeliveryId = Annotated[
    str,
    AfterValidator(_check_delivery_id),
    Path(
        description="Id of the event or of the result copy.",
        examples=["evt_job_01K9ZXV4T8Q2M6R0C5B7N3D1FG_completed"],
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(description="Requests with the same key and body have the same reply, however often they are sent."),
]


def parse_idempotency_key(key: str | None) -> str | None:
    """Return the key without quotes: the IETF draft requires a quoted string, but most clients send it bare.

    Raises:
        Invalid: it has no or too many characters.
    """
    if key is None:
        return None
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= 255:
        raise Invalid([Problem("header:Idempotency-Key", "must have 1 to 255 characters")])
    return key


def parse_retry_count(text: str | None) -> int | None:
    """Return how often a client library has sent a request before; None if it does not say."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else None
