"""Documents the requests that the service sends: webhooks and result copies. Nothing here runs."""

from typing import Any

from fastapi import APIRouter

from api.schemas import examples
from jobs.model.public_job import ResultCopy, WebhookEvent
from jobs.model.retry_schedule import MAX_ATTEMPTS, MAX_RETRY_AFTER_S, RETRY_DELAYS_S, RETRY_JITTER
from runtime.settings import Settings

UNITS_S = ((3600, "h"), (60, "min"), (1, "s"))

EVENTS = {
    "completed": "The job has an answer.",
    "failed": "The job could not be processed; `data.error` says why. It may have partial output.",
    "cancelled": "The client cancelled the job. It may have partial output.",
    "expired": "No worker started the job before its deadline.",
}


def duration(seconds: float) -> str:
    """Write a duration in the largest unit that divides it: 300 becomes ``5 min``."""
    size, unit = next((size, unit) for size, unit in UNITS_S if seconds % size == 0)
    return f"{seconds / size:g} {unit}"


RETRIES = (
    "Answer with any 2xx. The service retries after any other status, a redirect, a connection error, or no response "
    f"within {duration(Settings.model_fields['webhook_timeout_s'].default)} (`WEBHOOK_TIMEOUT_S`). It makes at most "
    f"{MAX_ATTEMPTS} attempts and waits {', '.join(map(duration, RETRY_DELAYS_S))} between them, each "
    f"±{RETRY_JITTER:.0%}. A `Retry-After` of a 429 or 503 is honored up to {duration(MAX_RETRY_AFTER_S)}. "
    "A 410 stops the delivery."
)
SIGNATURE = (
    "Signed as in [Standard Webhooks](https://www.standardwebhooks.com): `webhook-id` equals the event's `id` and is "
    "the same for all attempts, `webhook-timestamp` is new for each attempt, and `webhook-signature` contains one or "
    "two `v1,…` signatures (HMAC-SHA256 of `id.timestamp.body`)."
)


WEBHOOK_EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    f"job.{status}": {f"job.{status}": examples.event(status), "test event": examples.sample_event(status)}
    for status in EVENTS
} | {"result.copy": {"result copy": examples.RESULT_COPY}}
"""Complete bodies by webhook and title."""


def documented_webhooks() -> APIRouter:
    """Return the routes for OpenAPI's ``webhooks`` section."""
    router = APIRouter()
    for status, meaning in EVENTS.items():
        name = f"job.{status}"
        sent = f"Sent to `callback.url` if `callback.events` contains `{name}`, which is the default."
        _add(router, name, "POST", WebhookEvent, f"{meaning} {sent}\n\n{SIGNATURE}\n\n{RETRIES}")
    uploaded = (
        "The result of a job that has ended, uploaded to each of its `result_urls`. `Repr-Digest` contains the SHA-256 "
        "of the body, which is the job's `result_sha256`. Not signed: the URL authorizes the PUT."
    )
    _add(router, "result.copy", "PUT", ResultCopy, f"{uploaded}\n\n{RETRIES}")
    return router


def _add(router: APIRouter, name: str, method: str, model: type, description: str) -> None:
    def receive(body: Any) -> None: ...

    receive.__annotations__["body"] = model
    router.add_api_route(
        name,
        receive,
        methods=[method],
        name=name,
        summary=name,
        description=description,
        tags=["webhooks"],
        status_code=204,
        response_description="Received. Any 2xx counts.",
    )
