"""Files that clients upload directly to the object store, for later jobs.

A job that uses an upload gets its own copy, so later changes to the upload do not affect the job.
"""

import re
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from ulid import ULID

from jobs.errors import Invalid, Problem, UploadNotFound
from jobs.model.retention import DAY_MS
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import load_json, save_json
from jobs.objects.keys import job_folder, upload_data_key, upload_meta_key
from jobs.objects.presign import presigned_put
from jobs.objects.store import UPLOAD_RETENTION_DAYS, ObjectStore
from runtime.settings import Settings
from runtime.sizes import format_size

PUT_URL_LIFETIME = timedelta(hours=1)
PART_BYTES = 16 * 2**20
MAX_SINGLE_BYTES = 64 * 2**20
"""A larger file is uploaded in parts, so that a lost connection costs one part."""

ID = re.compile(r"upload_[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that a client announced."""

    id: str
    tenant: str
    bytes: int
    created_ms: int
    multipart_id: str = ""
    """Given by the object store; empty for an upload in one piece."""

    @property
    def key(self) -> str:
        return upload_data_key(self.tenant, self.id)

    @property
    def part_count(self) -> int:
        return -(-self.bytes // PART_BYTES)

    @property
    def expires_ms(self) -> int:
        return self.created_ms + UPLOAD_RETENTION_DAYS * DAY_MS


class Uploads:
    """Manages uploads. Every method raises ObjectStoreUnavailable; those that take an id raise UploadNotFound."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._settings = settings

    def start(self, tenant: str, size: int) -> Upload:
        """Announce an upload of ``size`` bytes."""
        upload_id, multipart_id = f"upload_{ULID()}", ""
        if size > MAX_SINGLE_BYTES:
            multipart_id = self._object_store.start_multipart(upload_data_key(tenant, upload_id))
        upload = Upload(upload_id, tenant, size, time.time_ns() // 1_000_000, multipart_id)
        save_json(self._object_store, upload_meta_key(tenant, upload_id), asdict(upload))
        return upload

    def presigned_urls(self, upload: Upload) -> list[str]:
        """Return the PUT URLs: one for the whole file, or one for each part, in order."""
        if not upload.multipart_id:
            return [presigned_put(self._settings, upload.key, size=upload.bytes, lifetime=PUT_URL_LIFETIME)]
        return [
            self._object_store.presigned_part_url(upload.key, upload.multipart_id, number, lifetime=PUT_URL_LIFETIME)
            for number in range(1, upload.part_count + 1)
        ]

    def complete(self, tenant: str, upload_id: str, etags: list[str]) -> Upload:
        """Join the parts of an upload.

        Raises:
            Invalid: parts are missing, or the ETags do not match them.
        """
        upload = self.get(tenant, upload_id)
        if not upload.multipart_id:
            raise Invalid([Problem("/etags", "applies to uploads in parts; this upload is complete after its PUT")])
        if len(etags) != upload.part_count:
            raise Invalid([Problem("/etags", f"has {len(etags)} entries; the upload has {upload.part_count} parts")])
        if not self._object_store.complete_multipart(upload.key, upload.multipart_id, etags):
            raise Invalid([Problem("/etags", "do not match the parts that were sent; send the parts again")])
        return upload

    def get(self, tenant: str, upload_id: str) -> Upload:
        if not ID.fullmatch(upload_id):
            raise UploadNotFound
        try:
            return Upload(**load_json(self._object_store, upload_meta_key(tenant, upload_id)))
        except ObjectNotFound:
            raise UploadNotFound from None

    def copy_to_job(self, tenant: str, upload_id: str, job_id: str, *, max_bytes: int, where: str) -> str:
        """Copy an upload to a job's media; returns the key of the copy.

        Args:
            where: JSON pointer to the field that names the upload, for errors.

        Raises:
            Invalid: the tenant has no such upload, its file was not sent, or it is too large.
        """
        try:
            upload = self.get(tenant, upload_id)
            size = self._object_store.size(upload.key)
        except UploadNotFound as error:
            raise Invalid([Problem(where, "names an upload that does not exist or has expired")]) from error
        except ObjectNotFound as error:
            raise Invalid([Problem(where, "names an upload whose file was not sent, or not completed")]) from error
        if size != upload.bytes:
            raise Invalid([Problem(where, f"names an upload of {size} bytes; {upload.bytes} were announced")])
        if size > max_bytes:
            raise Invalid(
                [Problem(where, f"names an upload of {format_size(size)}; the limit is {format_size(max_bytes)}")]
            )
        key = f"{job_folder(job_id)}/media/{upload_id}"
        self._object_store.copy(upload.key, key)
        return key
