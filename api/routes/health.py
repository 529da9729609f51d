"""``/livez``: the process runs. ``/readyz``: the service can accept jobs."""

import asyncio
import time
from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, services
from api.schemas.health import LiveReply, ReadyReply
from jobs.errors import ThinkqueueError

READY_CACHE_S = 0.25
"""Short, so that a probe sees a change at once."""

router = APIRouter(tags=["health"])


@router.get("/livez", response_model=LiveReply)
async def live() -> dict[str, str]:
    """Return 200 while the process runs."""
    return {"status": "live"}


@router.get("/readyz", response_model=ReadyReply, responses={503: {"model": ReadyReply}})
async def ready(request: Request, service: Annotated[Services, Depends(services)]) -> JSONResponse:
    """Return 200 when Redis, its epoch and the object store are available, 503 otherwise. Workers are not required."""
    readiness: Readiness = request.app.state.readiness
    body = await readiness.read(service)
    is_ready = body["status"] == "ready"
    return JSONResponse(body, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


class Readiness:
    """The last answer of ``/readyz``, which needs no key: however often it is called, the servers are asked rarely."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._body: dict[str, Any] = {}
        self._valid_until = 0.0

    async def read(self, service: Services) -> dict[str, Any]:
        """Return the answer, from the servers if the last one is older than ``READY_CACHE_S``."""
        async with self._lock:
            if time.monotonic() >= self._valid_until:
                self._body = await run_in_threadpool(_check, service)
                self._valid_until = time.monotonic() + READY_CACHE_S
            return self._body


def _check(service: Services) -> dict[str, Any]:
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
    return {"status": "ready" if is_ready else "not_ready", "checks": checks, "workers": workers}
