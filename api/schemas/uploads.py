"""Uploads of large files."""

from typing import Annotated, Literal

from pydantic import ConfigDict, FailFast, Field, StringConstraints

from api.schemas import examples
from api.schemas.base import Reply, RequestBody, with_example
from jobs.model.times import Time


class UploadBody(RequestBody):
    """Announces a file."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bytes": 48213}]})

    bytes: Annotated[int, Field(ge=1)]
    """The exact size; it is part of the URL's signature."""


class UploadParts(RequestBody):
    """Completes a multipart upload."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"etags": ["9b2cf535f27731c9", "3f1a2b"]}]})

    etags: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], FailFast(), Field(max_length=10_000)
    ]
    """The `ETag` response headers of the PUTs, in the order of the parts."""


class UploadReply(Reply):
    """An upload, and where to PUT its bytes."""

    model_config = with_example(examples.UPLOAD)

    id: str
    """Use `upload:<id>` wherever a job takes a URL."""
    object: Literal["upload"] = "upload"
    bytes: int
    """The announced size."""
    expires_at: Time
    """When the upload is deleted. Jobs have copies of their own."""
    method: Literal["PUT"] = "PUT"
    url: str | None
    """PUT the whole file here, with its `Content-Length`. Null for a multipart upload."""
    part_bytes: int | None
    """Size of each part except the last. Null for an upload in one piece."""
    part_urls: list[str]
    """PUT one part to each, then send their `ETag` headers to `POST /v1/uploads/{upload_id}/complete`."""
