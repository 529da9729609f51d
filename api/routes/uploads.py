"""``/v1/uploads``: clients send large files to the object store, not through the api."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.middleware.access.auth import bearer_auth, caller
from api.middleware.input.json_body import JsonRoute
from api.schemas.uploads import UploadBody, UploadParts, UploadReply
from jobs.errors import Invalid, Problem
from jobs.model.times import format_time
from jobs.objects.uploads import PART_BYTES, Upload
from jobs.tenants.api_key import ApiKey
from runtime.sizes import format_size

Caller = Annotated[ApiKey, Depends(caller)]
Service = Annotated[Services, Depends(services)]

router = APIRouter(
    prefix="/v1/uploads", tags=["uploads"], dependencies=[bearer_auth], responses=ERROR_RESPONSES, route_class=JsonRoute
)


@router.post("", status_code=HTTPStatus.CREATED, response_model=UploadReply)
def create_upload(body: UploadBody, key: Caller, service: Service) -> dict[str, Any]:
    """Announce a file. PUT it to the URLs in the reply, then use `upload:<id>` wherever a job takes a URL."""
    limit = service.settings.max_upload_bytes
    if body.bytes > limit:
        raise Invalid(
            [Problem("/bytes", f"is {format_size(body.bytes)}; the limit is {format_size(limit)} ({limit} bytes)")]
        )
    upload = service.uploads.start(key.tenant, body.bytes)
    return _reply(upload, service.uploads.presigned_urls(upload))


@router.post("/{upload_id}/complete", response_model=UploadReply)
def complete_upload(
    upload_id: Annotated[str, Path(description="Id of the upload.")],
    body: UploadParts,
    key: Caller,
    service: Service,
) -> dict[str, Any]:
    """Complete a multipart upload."""
    return _reply(service.uploads.complete(key.tenant, upload_id, body.etags), [])


def _reply(upload: Upload, links: list[str]) -> dict[str, Any]:
    in_parts = bool(upload.multipart_id)
    return {
        "id": upload.id,
        "bytes": upload.bytes,
        "expires_at": format_time(upload.expires_ms),
        "url": None if in_parts or not links else links[0],
        "part_bytes": PART_BYTES if in_parts else None,
        "part_urls": links if in_parts else [],
    }
