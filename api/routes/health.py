"""``/livez``: the process runs. ``/readyz``: the service can accept jobs."""

from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from api.dependencies import Services, services
from api.schemas.health import LiveReply, ReadyReply
from jobs.errors import ThinkqueueError

router = APIRouter(tags=["health"])


@router.get("/livez", response_model=LiveReply)
async def live() -> dict[str, str]:
    """Return 200 while the process runs."""
    return {"status": "live"}


@router.get("/readyz", response_model=ReadyReply, responses={503: {"model": ReadyReply}})
def ready(service: Annotated[Services, Depends(services)]) -> JSONResponse:
    """Return 200 when Redis, its epoch and the object store are available, 503 otherwise. Workers are not required."""
    store, object_store = service.store, service.object_store
    checks: dict[str, str] = {}
    workers: dict[str, int] = {}
    for name, check in (("store", store.integrity.require_epoch), ("object_store", object_store.ping)):
        try:
            check()
            checks[name] = "ok"
        except ThinkqueueError as error:
            checks[name] = f"{error.code}: {error.message}"
    is_ready = all(check == "ok" for check in checks.values())
    if is_ready:
        workers = dict(Counter(worker.stage for worker in store.workers() if worker.state == "ready"))
    body: dict[str, Any] = {
        "status": "ready" if is_ready else "not_ready",
        "checks": checks,
        "workers": workers,
    }
    return JSONResponse(body, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)
