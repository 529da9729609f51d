"""Webhooks' messages: the event, signed (Standard Webhooks 1.0.0)."""

import json
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from jobs.model.job import Job
from jobs.model.public_job import public_job
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.objects.store import ObjectStore
from jobs.table.deliveries import DueDelivery, test_event_key
from jobs.tenants.webhook_secrets import WebhookSecrets
from worker.keeper.delivery.outbound import OutboundRequest

MAX_BODY_BYTES = 20_000
"""Receivers refuse large bodies; what is over it is left out by name, and a poll has it."""
OMITTED_FIRST = (
    ("output", "raw"),
    ("output", "thinking"),
    ("output", "boxes"),
    ("output", "answer"),
    ("media",),
    ("metadata",),
)


def message(
    due: DueDelivery,
    url: str,
    job: Job,
    request: JobRequest,
    result: JobResult,
    object_store: ObjectStore,
    secrets: WebhookSecrets,
) -> OutboundRequest:
    body = webhook_body(due, public_job(job, request, result, object_store))
    return _signed(due, url, body, secrets.signing(job.tenant))


def trial_message(due: DueDelivery, object_store: ObjectStore, secrets: WebhookSecrets) -> OutboundRequest:
    """Of an event that only tries a receiver. Raises ObjectMissing."""
    trial = object_store.get_json(test_event_key(due.id))
    return _signed(due, trial["url"], trial_body(due, trial), secrets.signing(trial["tenant"]))


def _signed(due: DueDelivery, url: str, body: str, secrets: list[str]) -> OutboundRequest:
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": due.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(due.id, now, body) for secret in secrets),
    }
    return OutboundRequest("POST", url, body.encode(), headers)


def trial_body(due: DueDelivery, trial: dict[str, Any]) -> str:
    """Shaped as a real event, of a job that never was."""
    event = {
        "id": due.id,
        "object": "event",
        "type": due.event,
        "created_at": trial["created_at"],
        "timestamp": datetime.fromtimestamp(trial["created_at"], UTC).isoformat(),
        "data": {"id": "job_test", "object": "job", "status": due.event.removeprefix("job."), "test": True},
    }
    return json.dumps(event)


def webhook_body(due: DueDelivery, job: dict[str, Any]) -> str:
    """The event: the public job, as a poll would answer it, in at most 20 kB.

    What does not fit is null and named in ``data.omitted``.
    """
    event = {
        "id": due.id,
        "object": "event",
        "type": due.event,
        "created_at": job["ended_at"],
        "timestamp": datetime.fromtimestamp(job["ended_at"], UTC).isoformat(),
        "data": {**job, "omitted": []},
    }
    for path in OMITTED_FIRST:
        text = json.dumps(event, ensure_ascii=False)
        if len(text.encode()) <= MAX_BODY_BYTES:
            return text
        _omit(event["data"], path)
    return json.dumps(event, ensure_ascii=False)


def _omit(data: dict[str, Any], path: tuple[str, ...]) -> None:
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
