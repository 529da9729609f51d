"""``/v1/batches``: create, retrieve, list and cancel batches."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from fastapi.responses import JSONResponse

from api.middleware.access.auth import bearer_auth
from api.middleware.input.json_body import JsonRoute
from api.openai.batches.objects import batch_object, read_batch
from api.openai.extras import ignored_header
from api.routes.parameters import Caller, Service

MAX_PAGE = 100

router = APIRouter(prefix="/v1/batches", dependencies=[bearer_auth], route_class=JsonRoute, include_in_schema=False)

BatchId = Annotated[
    str, Path(max_length=128, description="Id of the batch.", examples=["batch_01K9ZXV4T8Q2M6R0C5B7N3D1FG"])
]


@router.post("", response_class=JSONResponse)
def create_batch(body: Annotated[dict[str, Any], Body()], key: Caller, service: Service) -> JSONResponse:
    """Run the requests of a file."""
    batch, ignored = read_batch(body, key, service.files)
    return JSONResponse(batch_object(service.batches.create(batch)), headers=ignored_header(ignored))


@router.get("", response_class=JSONResponse)
def list_batches(
    key: Caller,
    service: Service,
    after: Annotated[
        str | None, Query(max_length=128, description="Id of the last batch of the previous page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Batches per page.")] = 20,
) -> JSONResponse:
    """List the tenant's batches, the newest first."""
    page = service.batches.page(key.tenant, after=after, limit=limit)
    return JSONResponse(
        {
            "object": "list",
            "data": [batch_object(found) for found in page.found],
            "first_id": page.found[0].batch.id if page.found else None,
            "last_id": page.found[-1].batch.id if page.found else None,
            "has_more": page.has_more,
        }
    )


@router.get("/{batch_id}", response_class=JSONResponse)
def get_batch(batch_id: BatchId, key: Caller, service: Service) -> JSONResponse:
    """Return a batch in its current state."""
    return JSONResponse(batch_object(service.batches.get(key.tenant, batch_id)))


@router.post("/{batch_id}/cancel", response_class=JSONResponse)
def cancel_batch(batch_id: BatchId, key: Caller, service: Service) -> JSONResponse:
    """Stop a batch. What was answered until then is in its files."""
    return JSONResponse(batch_object(service.batches.cancel(key.tenant, batch_id)))
