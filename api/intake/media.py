"""Stores the media of a job's request: each becomes an object of the job, or a URL for the prepare worker."""

import hashlib
from typing import Any

from api.intake.data_urls import decode_data_url, is_data_url
from api.schemas.media_kind import MediaKind, wrong_part
from api.schemas.urls import UPLOAD
from jobs.errors import Invalid, Problem
from jobs.objects.keys import job_folder
from jobs.objects.store import ObjectStore
from jobs.objects.uploads import Uploads
from runtime.settings import Settings
from runtime.sizes import format_size


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
        if is_data_url(url):
            return {"key": self._store_data_url(job_id, kind, url, pointer)}
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

    def _store_data_url(self, job_id: str, kind: MediaKind, url: str, pointer: str) -> str:
        """Store the bytes of a ``data:`` URL. The key is a hash of the content, so a repeat changes nothing."""
        data, limit = decode_data_url(url, pointer), self._max_bytes[kind]
        if len(data) > limit:
            raise Invalid([Problem(pointer, f"has {format_size(len(data))}; the limit is {format_size(limit)}")])
        if problem := wrong_part(data, kind):
            raise Invalid([Problem(pointer, problem)])
        key = f"{job_folder(job_id)}/media/{hashlib.sha256(data).hexdigest()[:32]}"
        self._object_store.put(key, data)
        return key
