"""``/v1/jobs/{id}/deliveries`` and ``/v1/webhook_deliveries``: read and repeat deliveries."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from api.dependencies import Services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.access.auth import bearer_auth
from api.middleware.input.json_body import JsonRoute
from api.routes.parameters import Caller, DeliveryId, JobId, Service
from api.schemas.webhooks import DeliveryList, DeliveryReply
from jobs.errors import DeliveryNotFound, NotFound
from jobs.lifecycle.end.settled_deliveries import list_settled, load_settled
from jobs.lifecycle.lookup import find_job
from jobs.model.retention import DAY_MS
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import load_json
from jobs.objects.keys import event_test_key
from jobs.table.deliveries import Delivery

router = APIRouter(
    prefix="/v1", tags=["webhooks"], dependencies=[bearer_auth], responses=ERROR_RESPONSES, route_class=JsonRoute
)


@router.get("/jobs/{job_id}/deliveries", response_model=DeliveryList)
def list_deliveries(job_id: JobId, key: Caller, service: Service) -> dict[str, Any]:
    """List a job's webhook and result copies with all attempts. The list is empty until the job has ended."""
    find_job(service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
    found = service.deliveries.list_for_job(job_id)
    if service.store.get(job_id) is None:  # its rows have left Redis, except those that are sent again
        known = {delivery.id: delivery for delivery in found}
        found = [known.pop(settled.id, settled) for settled in list_settled(service.object_store, job_id)]
        found += known.values()
    return {"data": [_reply(delivery) for delivery in found]}


@router.post(
    "/jobs/{job_id}/deliveries/{delivery_id}/redeliver", status_code=HTTPStatus.ACCEPTED, response_model=DeliveryReply
)
def redeliver(job_id: JobId, delivery_id: DeliveryId, key: Caller, service: Service) -> dict[str, Any]:
    """Repeat a delivery now, under the same id; if it fails, the full retry schedule follows."""
    find_job(service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
    delivery = _find(service, delivery_id)
    if delivery is None or delivery.job_id != job_id or not _redeliver(service, delivery, key.tenant):
        raise DeliveryNotFound
    return _reply(service.deliveries.get(delivery_id) or delivery)


@router.get("/webhook_deliveries/{delivery_id}", response_model=DeliveryReply)
def get_delivery(delivery_id: DeliveryId, key: Caller, service: Service) -> dict[str, Any]:
    """Return a delivery by the id of its event, which may be a test event."""
    delivery = _find(service, delivery_id)
    if delivery is None or not _is_of(service, delivery, key.tenant):
        raise DeliveryNotFound
    return _reply(delivery)


def _find(service: Services, delivery_id: str) -> Delivery | None:
    """Return a delivery, also when its row has left Redis with its job's record."""
    return service.deliveries.get(delivery_id) or load_settled(service.object_store, delivery_id)


def _redeliver(service: Services, delivery: Delivery, tenant: str) -> bool:
    retention_ms = service.settings.retention_days * DAY_MS
    return service.deliveries.redeliver(delivery.id) or service.deliveries.redeliver_settled(
        delivery, tenant=tenant, retention_ms=retention_ms
    )


def _reply(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event_type": delivery.event,
        "state": delivery.state,
        "attempts": delivery.attempts,
    }


def _is_of(service: Services, delivery: Delivery, tenant: str) -> bool:
    try:
        if delivery.job_id:
            find_job(service.store, delivery.job_id, tenant=tenant, ended_jobs=service.ended_jobs)
            return True
        return bool(load_json(service.object_store, event_test_key(delivery.id))["tenant"] == tenant)
    except (NotFound, ObjectNotFound):
        return False
