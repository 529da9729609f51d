"""``/v1/webhook_secret``: read, rotate and test the secret that signs a tenant's webhooks."""

import time
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response
from ulid import ULID

from api.errors.catalog import ERROR_RESPONSES
from api.intake.url_policy import UrlPolicy
from api.middleware.access.auth import bearer_auth
from api.middleware.input.json_body import JsonRoute
from api.routes.parameters import Caller, IdempotencyKey, Service, parse_idempotency_key
from api.schemas.webhooks import DeliveryReply, RotateBody, SecretReply, TestEventBody
from jobs.model.retention import DAY_MS
from jobs.model.times import format_time_if_set
from jobs.objects.documents import save_json
from jobs.objects.keys import event_test_key
from jobs.tenants.keyed_rotation import rotate_once
from jobs.tenants.webhook_secrets import SecretVersion

router = APIRouter(
    prefix="/v1", tags=["webhooks"], dependencies=[bearer_auth], responses=ERROR_RESPONSES, route_class=JsonRoute
)


@router.get("/webhook_secret", response_model=SecretReply)
def get_secret(key: Caller, service: Service) -> dict[str, Any]:
    """Describe the current secret. Only the reply to a rotation contains the secret itself."""
    return _reply(service.secrets.version(key.tenant), None)


@router.post("/webhook_secret/rotate", response_model=SecretReply)
def rotate_secret(
    key: Caller,
    service: Service,
    response: Response,
    body: RotateBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Create and return a new secret. For 24 hours the old one signs too, unless the body says otherwise.

    With an `Idempotency-Key` the call can be repeated after a lost reply: it returns the same secret.
    """
    keep_old = (body or RotateBody()).keep_old_secret_active_for_24_hours
    once = parse_idempotency_key(idempotency_key)
    if once is None:
        new = service.secrets.rotate(key.tenant, keep_old=keep_old)
        return _reply(new.version, new.secret)
    new, is_replay = rotate_once(service.object_store, service.secrets, key.tenant, once, keep_old=keep_old)
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return _reply(new.version, new.secret)


@router.post("/webhook_secret/test", status_code=HTTPStatus.ACCEPTED, response_model=DeliveryReply)
def send_test_event(body: TestEventBody, key: Caller, service: Service) -> dict[str, Any]:
    """Send a signed test event. Read its delivery at `GET /v1/webhook_deliveries/{id}`."""
    UrlPolicy(service.settings.egress_networks).check("/url", body.url)
    delivery = f"evt_test_{ULID()}"
    event = {"url": body.url, "tenant": key.tenant, "created_at": int(time.time())}
    save_json(service.object_store, event_test_key(delivery), event)
    service.deliveries.create_test(delivery, tenant=key.tenant, event=body.event_type, retention_ms=DAY_MS)
    return {"id": delivery, "event_type": body.event_type, "state": "pending", "attempts": []}


def _reply(version: SecretVersion, secret: str | None) -> dict[str, Any]:
    return {
        "version": version.version,
        "rotated_at": format_time_if_set(version.rotated_ms),
        "old_secret_expires_at": format_time_if_set(version.old_until_ms),
        "secret": secret,
    }
