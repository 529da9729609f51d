"""Stores the media of a job's request: each becomes an object of the job, or a URL for the prepare worker.

The server copies a large object in seconds, so the prepare worker makes the copies of uploads and of other jobs' media.
Small ones are copied here, where that costs less than a ``data:`` URL of the same size.
"""

import hashlib
from contextlib import suppress
from typing import Any

from api.intake.data_urls import decode_data_url, is_data_url
from api.schemas.checks.media_kind import MediaKind, wrong_part
from api.schemas.checks.urls import UPLOAD
from jobs.errors import Invalid, ObjectStoreUnavailable, Problem
from jobs.lifecycle.files import Files, is_file_id
from jobs.lifecycle.uploads import Uploads
from jobs.model.documents.request import JobRequest
from jobs.objects.client import ObjectNotFound
from jobs.objects.files import StoredFile
from jobs.objects.keys import job_folder
from jobs.objects.store import ObjectStore
from runtime.settings import Settings
from runtime.sizes import format_size

Part = dict[str, Any]
"""A part of a stored message (``JobRequest.messages``)."""

COPIED_BYTES = 8 * 2**20
"""Copies that one request makes in the api, at most."""
KEPT_AFTER_DEADLINE_MS = 3600 * 1000
"""A claimed job may still be prepared after its deadline."""


class MediaIntake:
    """Creates the batches. Every method raises ObjectStoreUnavailable."""

    def __init__(self, object_store: ObjectStore, uploads: Uploads, files: Files, settings: Settings) -> None:
        self._object_store = object_store
        self._uploads = uploads
        self._files = files
        self._max_bytes: dict[MediaKind, int] = {
            "image": settings.max_image_bytes,
            "document": settings.max_document_bytes,
            "video": settings.max_video_bytes,
        }

    def batch(self, job_id: str, tenant: str) -> "MediaBatch":
        """Begin with the media of one job."""
        return MediaBatch(self._object_store, self._uploads, self._files, self._max_bytes, job_id, tenant)

    def keep_uploads(self, request: JobRequest) -> None:
        """Keep the uploads and files that a request uses until its job has copies. Raises StoreUnavailable."""
        deadline_ms = request.created_ms + request.expires_ms + KEPT_AFTER_DEADLINE_MS
        for part in (part for message in request.messages for part in message["content"]):
            if "upload" in part:
                until_ms = deadline_ms if "source" in part else 0
                store = self._files if is_file_id(part["upload"]) else self._uploads
                store.keep(request.tenant, part["upload"], until_ms=until_ms)


class MediaBatch:
    """The media of one job: first all are checked, then all are stored, so that a refused request leaves no objects."""

    def __init__(
        self,
        object_store: ObjectStore,
        uploads: Uploads,
        files: Files,
        max_bytes: dict[MediaKind, int],
        job_id: str,
        tenant: str,
    ) -> None:
        self._object_store = object_store
        self._uploads = uploads
        self._files = files
        self._max_bytes = max_bytes
        self._folder = f"{job_folder(job_id)}/media"
        self._tenant = tenant
        self._data: dict[str, bytes] = {}
        """Content to store, by key."""

    def add_source(self, kind: MediaKind, url: str, pointer: str) -> Part:
        """Check a medium of the request.

        Returns:
            The fields of its stored part: ``key``, ``bytes``, ``upload`` and ``source`` of an object, or the ``url``
            that the prepare worker fetches. See ``JobRequest.messages``.

        Raises:
            Invalid: at ``pointer``.
        """
        limit = self._max_bytes[kind]
        if is_data_url(url):
            data = decode_data_url(url, pointer)
            if len(data) > limit:
                raise Invalid([Problem(pointer, f"has {format_size(len(data))}; the limit is {format_size(limit)}")])
            if problem := wrong_part(data, kind):
                raise Invalid([Problem(pointer, problem)])
            key = self._key(hashlib.sha256(data).hexdigest()[:32])  # a repeat stores the same content again
            self._data[key] = data
            return {"key": key, "bytes": len(data)}
        if url.startswith(UPLOAD):
            return self._add_stored(kind, url.removeprefix(UPLOAD), pointer)
        return {"url": url}

    def _add_stored(self, kind: MediaKind, stored_id: str, pointer: str) -> Part:
        """Return the fields of a part whose medium is a file or an upload."""
        find = self._files.find_for_job if is_file_id(stored_id) else self._uploads.find_for_job
        stored, found = find(self._tenant, stored_id, max_bytes=self._max_bytes[kind], where=pointer)
        if isinstance(stored, StoredFile) and (problem := wrong_part(bytes.fromhex(stored.start), kind)):
            raise Invalid([Problem(pointer, f"names a file that {problem}")])
        # The key contains the ETag: a repeat of the request after a change of the upload writes to another key.
        key = self._key(f"{stored.id}-{hashlib.sha256(found.etag.encode()).hexdigest()[:16]}")
        source = {"key": stored.key, "etag": found.etag}
        return {"key": key, "bytes": found.bytes, "upload": stored.id, "source": source}

    def add_part(self, part: Part) -> Part:
        """Return a part of an earlier job's request, for this job. Raises ObjectNotFound: its medium has expired."""
        if "key" not in part:
            return part
        new = {**part, "key": self._key(part["key"].rpartition("/")[2])}
        try:
            found = self._object_store.stat(part["key"])
        except ObjectNotFound:
            # The earlier job ended before it had a copy.
            if "source" not in part:
                raise
            found = self._object_store.stat(part["source"]["key"])
            if part["source"].get("etag") not in (None, found.etag):
                raise
        else:
            new["source"] = {"key": part["key"]}
            new.pop("upload", None)
        return {**new, "bytes": found.bytes}

    def store(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Store the content of ``data:`` URLs and make small copies; return the messages without the copied sources."""
        self._store_data()
        copied: dict[str, bool] = {}
        free_bytes = COPIED_BYTES
        for part in (part for message in messages for part in message["content"] if "source" in part):
            if part["key"] not in copied and part["bytes"] <= free_bytes:
                free_bytes -= part["bytes"]
                copied[part["key"]] = self._try_copy(part)
        return [{**message, "content": [_stored(part, copied) for part in message["content"]]} for message in messages]

    def _store_data(self) -> None:
        try:
            for key, data in self._data.items():
                self._object_store.put(key, data)
        except ObjectStoreUnavailable:
            # No job will have this id. What cannot be deleted either, the bucket's lifecycle rules delete.
            with suppress(ObjectStoreUnavailable):
                self._object_store.delete_prefix(f"{self._folder}/")
            raise

    def _try_copy(self, part: Part) -> bool:
        """Copy a small object. Return False when the prepare worker must do it, or find out why it cannot be done."""
        try:
            self._object_store.copy(part["source"]["key"], part["key"], etag=part["source"].get("etag"))
        except (ObjectNotFound, ObjectStoreUnavailable):
            return False
        return True

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _stored(part: Part, copied: dict[str, bool]) -> Part:
    if "source" in part and copied.get(part["key"]):
        return {name: value for name, value in part.items() if name != "source"}
    return part
