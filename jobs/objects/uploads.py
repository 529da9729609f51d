"""Files that clients put into the object store themselves, for jobs to come.

    uploads/<tenant>/<id>/meta.json   what was announced
    uploads/<tenant>/<id>/data        what was sent

A job that takes an upload gets a copy of its own, so nothing can change under it afterwards.
"""

import json
import re
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from ulid import ULID

from jobs.errors import Invalid, Problem, UploadNotFound
from jobs.objects.presign import presigned_put
from jobs.objects.store import UPLOAD_DAYS, ObjectMissing, ObjectStore, job_folder
from runtime.settings import Settings

LINK_LIFETIME = timedelta(hours=1)
PART_BYTES = 16 * 2**20
SINGLE_BYTES = 64 * 2**20
"""Larger ones come in parts: a broken connection then costs one part."""

ID = re.compile(r"upload_[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    tenant: str
    bytes: int
    created_ms: int
    multipart_id: str = ""
    """The object store's; empty for an upload in one piece."""

    @property
    def key(self) -> str:
        return f"uploads/{self.tenant}/{self.id}/data"

    @property
    def part_count(self) -> int:
        return -(-self.bytes // PART_BYTES)

    @property
    def expires_ms(self) -> int:
        return self.created_ms + UPLOAD_DAYS * 24 * 3600 * 1000


class Uploads:
    """Every method raises ObjectStoreUnavailable; those that take an id raise UploadNotFound."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._settings = settings

    def start(self, tenant: str, size: int) -> Upload:
        upload = Upload(f"upload_{ULID()}", tenant, size, time.time_ns() // 1_000_000)
        if size > SINGLE_BYTES:
            upload = Upload(upload.id, tenant, size, upload.created_ms, self._object_store.start_multipart(upload.key))
        self._object_store.put(_meta_key(tenant, upload.id), json.dumps(asdict(upload)).encode(), "application/json")
        return upload

    def links(self, upload: Upload) -> list[str]:
        """Where to PUT it: one link for the whole, or one for each part, in order."""
        if not upload.multipart_id:
            return [presigned_put(self._settings, upload.key, size=upload.bytes, lifetime=LINK_LIFETIME)]
        return [
            self._object_store.part_link(upload.key, upload.multipart_id, number, lifetime=LINK_LIFETIME)
            for number in range(1, upload.part_count + 1)
        ]

    def complete(self, tenant: str, upload_id: str, etags: list[str]) -> Upload:
        """Join the parts.

        Raises:
            Invalid: parts are missing, or are not what was sent.
        """
        upload = self.get(tenant, upload_id)
        if not upload.multipart_id:
            raise Invalid([Problem("/etags", "is only for an upload in parts; this one is complete once it is sent")])
        if len(etags) != upload.part_count:
            raise Invalid([Problem("/etags", f"has {len(etags)} entries; the upload has {upload.part_count} parts")])
        if not self._object_store.complete_multipart(upload.key, upload.multipart_id, etags):
            raise Invalid([Problem("/etags", "do not belong to the parts that were sent; send the parts again")])
        return upload

    def get(self, tenant: str, upload_id: str) -> Upload:
        if not ID.fullmatch(upload_id):
            raise UploadNotFound
        try:
            return Upload(**json.loads(self._object_store.get(_meta_key(tenant, upload_id))))
        except ObjectMissing:
            raise UploadNotFound from None

    def take(self, tenant: str, upload_id: str, job_id: str, *, max_bytes: int, where: str) -> str:
        """Copy an upload into a job; returns the copy's key.

        Raises:
            Invalid: there is no such upload of this tenant, it was not sent, or it is too large.
        """
        try:
            upload = self.get(tenant, upload_id)
            size = self._object_store.size(upload.key)
        except UploadNotFound as error:
            raise Invalid([Problem(where, "names no upload of yours (any more)")]) from error
        except ObjectMissing as error:
            raise Invalid([Problem(where, "names an upload that was not sent, or not completed")]) from error
        if size != upload.bytes:
            raise Invalid([Problem(where, f"names an upload of {size} bytes, announced with {upload.bytes}")])
        if size > max_bytes:
            raise Invalid([Problem(where, f"names an upload of {size} bytes; the limit for it is {max_bytes}")])
        key = f"{job_folder(job_id)}/media/{upload_id}"
        self._object_store.copy(upload.key, key)
        return key


def _meta_key(tenant: str, upload_id: str) -> str:
    return f"uploads/{tenant}/{upload_id}/meta.json"
