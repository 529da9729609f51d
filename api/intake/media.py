"""A job's media as the client names them: each becomes an object of the job's own, or an address to fetch later."""

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

    def source(self, job_id: str, tenant: str, kind: MediaKind, url: str, where: str) -> dict[str, str]:
        """``{"key"}`` of an object, or ``{"url"}`` for the prepare worker to fetch.

        Raises:
            Invalid: at ``where``.
        """
        if url[:5].lower() == "data:":
            return {"key": self._store(job_id, url, where, max_bytes=self._max_bytes[kind])}
        if url.startswith(UPLOAD):
            upload_id = url.removeprefix(UPLOAD)
            key = self._uploads.copy_to_job(tenant, upload_id, job_id, max_bytes=self._max_bytes[kind], where=where)
            return {"key": key}
        return {"url": url}

    def copied(self, part: dict[str, Any], job_id: str) -> dict[str, Any]:
        """A stored part for another job. Raises ObjectNotFound."""
        if "key" not in part:
            return part
        key = f"{job_folder(job_id)}/media/{part['key'].rpartition('/')[2]}"
        self._object_store.copy(part["key"], key)
        return {**part, "key": key}

    def _store(self, job_id: str, url: str, where: str, *, max_bytes: int) -> str:
        """Put a ``data:`` URL's bytes beside the job. Named by content, so that a repeat overwrites nothing."""
        data = decode_data_url(url, where)
        if len(data) > max_bytes:
            raise Invalid([Problem(where, f"has {len(data)} bytes; the limit is {max_bytes}")])
        key = f"{job_folder(job_id)}/media/{hashlib.sha256(data).hexdigest()[:32]}"
        self._object_store.put(key, data)
        return key


def decode_data_url(url: str, where: str) -> bytes:
    """The bytes of a ``data:`` URL (RFC 2397)."""
    head, comma, payload = url.partition(",")
    if not comma:
        raise Invalid([Problem(where, "is not a data: URL: it has no comma")])
    raw = unquote_to_bytes(payload)
    if not head.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid([Problem(where, "is marked base64 but is not; check padding and line breaks")]) from None
