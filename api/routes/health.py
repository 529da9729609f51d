"""``/livez``: the process runs. ``/readyz``: it can answer. ``/healthz``: it and its servers can accept jobs.

Readiness does not depend on Redis or the object store, which all replicas share: while one is away, every replica would
leave the load balancer, and clients would get its error instead of a problem with a code and ``Retry-After``.
"""

import asyncio
import time
from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, services
from api.schemas.health import HealthReply, LiveReply, ReadyReply
from jobs.errors import ThinkqueueError

HEALTH_CACHE_S = 0.25
"""Short, so that a monitor sees a change at once."""

router = APIRouter(tags=["health"])


@router.get("/livez", response_model=LiveReply)
async def live() -> dict[str, str]:
    """Return 200 while the process runs."""
    return {"status": "live"}


@router.get("/readyz", response_model=ReadyReply)
async def ready() -> dict[str, str]:
    """Return 200 when the process can answer requests. No server is asked; see `/healthz`."""
    return {"status": "ready"}


@router.get("/healthz", response_model=HealthReply, responses={503: {"model": HealthReply}})
async def health(request: Request, service: Annotated[Services, Depends(services)]) -> JSONResponse:
    """Return 200 when Redis, its epoch and the object store are available, 503 otherwise. Workers are not required."""
    last: Health = request.app.state.health
    body = await last.read(service)
    return JSONResponse(body, HTTPStatus.OK if body["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE)


class Health:
    """The last answer of ``/healthz``, which needs no key: however often it is called, the servers are asked rarely."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._body: dict[str, Any] = {}
        self._valid_until = 0.0

    async def read(self, service: Services) -> dict[str, Any]:
        """Return the answer, from the servers if the last one is older than ``HEALTH_CACHE_S``."""
        async with self._lock:
            if time.monotonic() >= self._valid_until:
                self._body = await run_in_threadpool(_check, service)
                self._valid_until = time.monotonic() + HEALTH_CACHE_S
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
    is_ok = all(check == "ok" for check in checks.values())
    if is_ok:
        workers = dict(Counter(worker.stage for worker in store.workers() if worker.state == "ready"))
    return {"status": "ok" if is_ok else "unavailable", "checks": checks, "workers": workers}
