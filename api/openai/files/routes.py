"""``/v1/files``: create, retrieve, list, read and delete files."""

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.middleware.access.auth import bearer_auth
from api.middleware.input.body_limit import announced_bytes
from api.middleware.input.unknown_input import reads_body
from api.openai.files.content import content_response
from api.openai.files.fields import file_object, read_lifetime_s, read_purpose
from api.openai.files.form import FileForm, boundary_of
from api.routes.parameters import Caller, Service
from jobs.errors import Invalid, Problem, Unavailable
from jobs.lifecycle.file_writer import FileWriter
from jobs.objects.files import StoredFile

PATH = "/v1/files"
MAX_PAGE = 10_000

router = APIRouter(prefix=PATH, dependencies=[bearer_auth], include_in_schema=False)

FileId = Annotated[
    str, Path(max_length=128, description="Id of the file.", examples=["file-01K9ZXV4T8Q2M6R0C5B7N3D1FG"])
]


@router.post("", response_class=JSONResponse)
@reads_body
async def create_file(key: Caller, service: Service, request: Request) -> JSONResponse:
    """Store a file, which comes as a form: `file`, `purpose` and `expires_after`, in any order."""
    boundary = boundary_of(request.headers)
    request.state.call_slot.release()  # the file may arrive slowly, and its memory is limited
    size = min(announced_bytes(request.scope) or service.settings.max_file_bytes, service.settings.max_file_bytes)
    writer = await run_in_threadpool(service.files.start, key.tenant, size)
    try:
        file = await _receive(FileForm(boundary, writer.write), request, writer)
    except BaseException:
        with suppress(Unavailable):  # the keeper deletes what is left
            await run_in_threadpool(writer.discard)
        raise
    return JSONResponse(file_object(file))


async def _receive(form: FileForm, request: Request, writer: FileWriter) -> StoredFile:
    await form.read(request)
    if form.filename is None:
        raise Invalid([Problem("/file", "is missing; send the file in the field file", "missing")])
    purpose, lifetime_s = read_purpose(form.fields), read_lifetime_s(form.fields)
    return await run_in_threadpool(writer.finish, filename=form.filename, purpose=purpose, lifetime_s=lifetime_s)


@router.get("", response_class=JSONResponse)
def list_files(
    key: Caller,
    service: Service,
    after: Annotated[str | None, Query(max_length=128, description="Id of the last file of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Files per page.")] = MAX_PAGE,
    order: Annotated[Literal["asc", "desc"], Query(description="`desc`: the newest file first.")] = "desc",
    purpose: Annotated[str | None, Query(max_length=64, description="Only files with this purpose.")] = None,
) -> JSONResponse:
    """List the tenant's files."""
    page = service.files.page(key.tenant, after=after, limit=limit, is_ascending=order == "asc", purpose=purpose)
    return JSONResponse(
        {
            "object": "list",
            "data": [file_object(file) for file in page.files],
            "first_id": page.files[0].id if page.files else None,
            "last_id": page.files[-1].id if page.files else None,
            "has_more": page.has_more,
        }
    )


@router.get("/{file_id}", response_class=JSONResponse)
def get_file(file_id: FileId, key: Caller, service: Service) -> JSONResponse:
    """Return a file's object."""
    return JSONResponse(file_object(service.files.get(key.tenant, file_id)))


@router.get("/{file_id}/content")
async def get_content(file_id: FileId, key: Caller, service: Service, request: Request) -> Response:
    """Return a file's content."""
    services: Services = service
    file = await run_in_threadpool(services.files.get, key.tenant, file_id)
    return await content_response(request, services.files, file)


@router.delete("/{file_id}", response_class=JSONResponse)
def delete_file(file_id: FileId, key: Caller, service: Service) -> JSONResponse:
    """Delete a file. Jobs that were submitted with it keep their copies."""
    service.files.delete(key.tenant, file_id)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})
