"""Builds webhook requests: the event as JSON, signed as in Standard Webhooks 1.0.0."""

import json
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus
from jobs.model.public.public_job import PublicJob, WebhookEvent, WebhookJob, public_job
from jobs.model.public.sample_job import sample_job
from jobs.objects.documents import load_json
from jobs.objects.keys import event_test_key
from jobs.objects.store import ObjectStore
from jobs.table.deliveries import DueDelivery
from jobs.tenants.webhook_secrets import WebhookSecrets
from worker.keeper.delivery.outbound import OutboundRequest

MAX_BODY_BYTES = 20_000
"""Receivers refuse large bodies. Fields that do not fit are null and listed in ``omitted``; a poll returns them."""
OMISSION_ORDER = (
    ("output", "raw"),
    ("output", "thinking"),
    ("output", "boxes"),
    ("output", "answer"),
    ("media",),
    ("metadata",),
)
"""Paths of the fields that are omitted from a body that is too large, first one first."""


def webhook_request(
    due: DueDelivery,
    url: str,
    job: Job,
    request: JobRequest,
    result: JobResult,
    object_store: ObjectStore,
    secrets: WebhookSecrets,
) -> OutboundRequest:
    """Build the signed POST for an ended job."""
    body = webhook_body(due, public_job(job, request, result, presign=object_store.presigned_url))
    return _signed(due, url, body, secrets.signing_secrets(job.tenant))


def test_event_request(due: DueDelivery, object_store: ObjectStore, secrets: WebhookSecrets) -> OutboundRequest:
    """Build the signed POST of a test event.

    Raises:
        ObjectNotFound: the test event has expired.
    """
    event = load_json(object_store, event_test_key(due.id))
    return _signed(
        due, event["url"], test_event_body(due, event["created_at"]), secrets.signing_secrets(event["tenant"])
    )


def _signed(due: DueDelivery, url: str, body: str, secrets: list[str]) -> OutboundRequest:
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": due.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(due.id, now, body) for secret in secrets),
    }
    return OutboundRequest("POST", url, body.encode(), headers)


def test_event_body(due: DueDelivery, created_at: int) -> str:
    """Build an event with the fields of a real one. ``created_at``: seconds since 1970."""
    job = sample_job(JobStatus(due.event.removeprefix("job.")), ended_ms=created_at * 1000)
    return WebhookEvent(**_event_fields(due, job.ended_at), data=job).model_dump_json()


def webhook_body(due: DueDelivery, job: PublicJob) -> str:
    """Build the event of an ended job, in at most ``MAX_BODY_BYTES``.

    Args:
        job: the public job, as a poll returns it.

    Returns:
        JSON. Fields that do not fit are null and listed in ``data.omitted``.
    """
    data = WebhookJob(**job.model_dump())
    event = WebhookEvent(**_event_fields(due, job.ended_at), data=data).model_dump(mode="json")
    for path in OMISSION_ORDER:
        text = json.dumps(event, ensure_ascii=False)
        if len(text.encode()) <= MAX_BODY_BYTES:
            return text
        _omit(event["data"], path)
    return json.dumps(event, ensure_ascii=False)


def _event_fields(due: DueDelivery, ended_at: str | None) -> dict[str, Any]:
    """Return the fields of a WebhookEvent except its data."""
    return {
        "id": due.id,
        "object": "event",
        "type": due.event,
        "created_at": ended_at,
        "timestamp": ended_at,
    }


def _omit(data: dict[str, Any], path: tuple[str, ...]) -> None:
    """Set the field at ``path`` to null and list it in ``omitted``; the caller's dicts stay unchanged."""
    *parents, last = path
    for parent in parents:
        if not data[parent]:
            return
        data[parent] = {**data[parent]}
    target = data[parents[0]] if parents else data
    if not target.get(last):
        return
    target[last] = None
    data["omitted"].append(".".join(path))
