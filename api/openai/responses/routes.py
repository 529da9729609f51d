"""``/v1/responses/{id}``: retrieve, follow, cancel and delete responses, and list their input."""

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.middleware.access.auth import bearer_auth
from api.middleware.input.unknown_input import reads_query
from api.openai.foreground.call import Place
from api.openai.responses.events.stream import FROM_THE_BEGINNING
from api.openai.responses.objects.input_items import INCLUDED_IMAGES, MAX_PAGE, input_items, page
from api.openai.responses.stored import ResponseReader
from api.openai.responses.stream_route import stream_response
from api.routes.parameters import Caller, Service
from jobs.lifecycle.end import deletion

router = APIRouter(prefix="/v1/responses", dependencies=[bearer_auth], include_in_schema=False)

CANCEL_WAIT_S = 2.0
"""A worker needs a moment to end a job. The reply has the final status in general; if not, it is still the old one."""

ResponseId = Annotated[
    str, Path(max_length=128, description="Id of the response.", examples=["resp_01K9ZXV4T8Q2M6R0C5B7N3D1FG"])
]
WITHOUT_EFFECT = re.compile(r"include(\[\])?|include_obfuscation")
"""Parameters that clients send and that change nothing here."""
Include = Annotated[
    list[str],
    Query(alias="include[]", max_length=16, description=f"`{INCLUDED_IMAGES}` adds the URLs of stored images."),
]
PlainInclude = Annotated[list[str], Query(alias="include", max_length=16, description="As `include[]`.")]


@router.get("/{response_id}", response_class=JSONResponse)
@reads_query(WITHOUT_EFFECT)
async def get_response(
    response_id: ResponseId,
    key: Caller,
    service: Service,
    request: Request,
    stream: Annotated[bool, Query(description="Send the response's events, from the first on.")] = False,
    starting_after: Annotated[
        int | None, Query(ge=0, le=2**53, description="With `stream`: number of the last event received.")
    ] = None,
) -> Response:
    """Return a response in its current state, or stream its events. A stream can be resumed after any event."""
    reader = ResponseReader(service, key.tenant)
    if not stream:
        return JSONResponse(await reader.read(await run_in_threadpool(reader.find, response_id)))
    place = await Place.take(request, is_stream=True)
    try:
        found = await run_in_threadpool(reader.find, response_id)
        after = FROM_THE_BEGINNING if starting_after is None else starting_after
        return stream_response(request, found.job, found.request, place, after=after)
    except BaseException:
        place.release()
        raise


@router.post("/{response_id}/cancel", response_class=JSONResponse)
async def cancel_response(response_id: ResponseId, key: Caller, service: Service) -> JSONResponse:
    """Cancel a response. A waiting one ends at once, a running one at its next token; an ended one does not change."""
    reader = ResponseReader(service, key.tenant)
    found = await run_in_threadpool(reader.find, response_id)
    if not found.job.status.is_terminal:
        await run_in_threadpool(service.finalizer.cancel, found.job)
        await service.event_hub.wait_until_ended(found.job.id, limit_s=CANCEL_WAIT_S)
    return JSONResponse(await reader.refresh(found))


@router.delete("/{response_id}", response_class=JSONResponse)
def delete_response(response_id: ResponseId, key: Caller, service: Service) -> JSONResponse:
    """Delete an ended response with its input and its events."""
    found = ResponseReader(service, key.tenant).find(response_id)
    deletion.delete_job(service.store, service.object_store, found.job.id)
    service.documents.forget(found.job)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


@router.get("/{response_id}/input_items", response_class=JSONResponse)
def list_input_items(
    response_id: ResponseId,
    key: Caller,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items per page.")] = 20,
    after: Annotated[str | None, Query(max_length=128, description="`last_id` of the previous page.")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: the first message first.")] = "desc",
    include: Include = [],  # noqa: B006  # FastAPI copies it
    plain_include: PlainInclude = [],  # noqa: B006
) -> JSONResponse:
    """List the messages of a response's input; with `previous_response_id`, those of the earlier responses too."""
    found = ResponseReader(service, key.tenant).find(response_id)
    includes_images = INCLUDED_IMAGES in (*include, *plain_include)
    presign = service.object_store.presigned_url if includes_images else None
    items = input_items(found.request, presign)
    return JSONResponse(page(items, after=after, limit=limit, is_ascending=order == "asc"))
