"""``/v1/jobs/{id}/deliveries`` and ``/v1/webhook_deliveries``: read and repeat deliveries."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from api.dependencies import Services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.auth import bearer_auth
from api.middleware.json_body import JsonRoute
from api.routes.parameters import Caller, DeliveryId, JobId, Service
from api.schemas.webhooks import DeliveryList, DeliveryReply
from jobs.errors import DeliveryNotFound
from jobs.lifecycle.lookup import find_job
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
    job = find_job(service.store, job_id, tenant=key.tenant)
    return {"data": [_reply(delivery) for delivery in service.deliveries.list_for_job(job.id)]}


@router.post(
    "/jobs/{job_id}/deliveries/{delivery_id}/redeliver", status_code=HTTPStatus.ACCEPTED, response_model=DeliveryReply
)
def redeliver(job_id: JobId, delivery_id: DeliveryId, key: Caller, service: Service) -> dict[str, Any]:
    """Repeat a delivery now, under the same id; if it fails, the full retry schedule follows."""
    find_job(service.store, job_id, tenant=key.tenant)
    delivery = service.deliveries.get(delivery_id)
    if delivery is None or delivery.job_id != job_id or not service.deliveries.redeliver(delivery_id):
        raise DeliveryNotFound
    return _reply(service.deliveries.get(delivery_id) or delivery)


@router.get("/webhook_deliveries/{delivery_id}", response_model=DeliveryReply)
def get_delivery(delivery_id: DeliveryId, key: Caller, service: Service) -> dict[str, Any]:
    """Return a delivery by the id of its event, which may be a test event."""
    delivery = service.deliveries.get(delivery_id)
    if delivery is None or _owner(service, delivery) != key.tenant:
        raise DeliveryNotFound
    return _reply(delivery)


def _reply(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event_type": delivery.event,
        "state": delivery.state,
        "attempts": delivery.attempts,
    }


def _owner(service: Services, delivery: Delivery) -> str | None:
    if delivery.job_id:
        job = service.store.get(delivery.job_id)
        return job.tenant if job else None
    try:
        return str(load_json(service.object_store, event_test_key(delivery.id))["tenant"])
    except ObjectNotFound:
        return None
