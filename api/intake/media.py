"""Stores the media of a job's request: each becomes an object of the job, or a URL for the prepare worker."""

import base64
import binascii
import hashlib
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from api.schemas.urls import UPLOAD
from jobs.errors import Invalid, Problem
from jobs.objects.keys import job_folder
from jobs.objects.store import ObjectStore
from jobs.objects.uploads import Uploads
from runtime.settings import Settings

MediaKind = Literal["image", "document", "video"]


class MediaIntake:
    """Every method raises ObjectStoreUnavailable."""

    def __init__(self, object_store: ObjectStore, uploads: Uploads, settings: Settings) -> None:
        self._object_store = object_store
        self._uploads = uploads
        self._max_bytes: dict[MediaKind, int] = {
            "image": settings.max_image_bytes,
            "document": settings.max_document_bytes,
            "video": settings.max_video_bytes,
        }

    def store_source(self, job_id: str, tenant: str, kind: MediaKind, url: str, pointer: str) -> dict[str, str]:
        """Store a ``data:`` URL's bytes or copy an upload; leave any other URL as it is.

        Returns:
            ``{"key"}`` of the job's object, or ``{"url"}`` that the prepare worker fetches.

        Raises:
            Invalid: at ``pointer``.
        """
        if url[:5].lower() == "data:":
            return {"key": self._store_data_url(job_id, url, pointer, max_bytes=self._max_bytes[kind])}
        if url.startswith(UPLOAD):
            upload_id = url.removeprefix(UPLOAD)
            key = self._uploads.copy_to_job(tenant, upload_id, job_id, max_bytes=self._max_bytes[kind], where=pointer)
            return {"key": key}
        return {"url": url}

    def copy_part(self, part: dict[str, Any], job_id: str) -> dict[str, Any]:
        """Copy a stored part's object into another job's folder and return the part. Raises ObjectNotFound."""
        if "key" not in part:
            return part
        key = f"{job_folder(job_id)}/media/{part['key'].rpartition('/')[2]}"
        self._object_store.copy(part["key"], key)
        return {**part, "key": key}

    def _store_data_url(self, job_id: str, url: str, pointer: str, *, max_bytes: int) -> str:
        """Store the bytes of a ``data:`` URL. The key is a hash of the content, so a repeat changes nothing."""
        data = decode_data_url(url, pointer)
        if len(data) > max_bytes:
            raise Invalid([Problem(pointer, f"has {len(data)} bytes; the limit is {max_bytes}")])
        key = f"{job_folder(job_id)}/media/{hashlib.sha256(data).hexdigest()[:32]}"
        self._object_store.put(key, data)
        return key


def decode_data_url(url: str, pointer: str) -> bytes:
    """Return the bytes of a ``data:`` URL (RFC 2397). Raises Invalid, at ``pointer``."""
    header, comma, payload = url.partition(",")
    if not comma:
        raise Invalid([Problem(pointer, "is not a data: URL: the comma before the data is missing")])
    raw = unquote_to_bytes(payload)
    if not header.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid([Problem(pointer, "is not valid base64; check padding and line breaks")]) from None
