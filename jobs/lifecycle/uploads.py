"""Files that clients upload directly to the object store, for later jobs.

A link for one PUT can be used again until it expires, so an upload may change after it was checked. A job records the
ETag and the size of the upload that it was submitted with, and copies or reads nothing else.
"""

import re
from dataclasses import asdict
from datetime import timedelta

from ulid import ULID

from jobs.errors import Invalid, Problem, ThinkqueueError, UploadNotFound
from jobs.model.times import now_ms
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import save_json
from jobs.objects.keys import upload_data_key, upload_meta_key
from jobs.objects.presign import presigned_put
from jobs.objects.store import ObjectInfo, ObjectStore
from jobs.objects.uploads import PART_BYTES, Upload, load_upload
from jobs.table.uploads import UploadLedger
from runtime.settings import Settings
from runtime.sizes import MIB, format_size

PUT_URL_LIFETIME = timedelta(hours=1)
COMPLETION_TIME = timedelta(hours=2)
"""An upload whose file has not arrived by then is deleted: its links have expired, and a PUT may take another hour."""
EXPIRY_MARGIN_MS = 3600 * 1000
"""An expired upload is deleted this much later: a job that was submitted just before may not be recorded yet."""
MAX_SINGLE_BYTES = 64 * MIB
"""A larger file is uploaded in parts, so that a lost connection costs one part."""

ID = re.compile(r"upload_[0-9A-HJKMNP-TV-Z]{26}")


class Uploads:
    """Manages uploads. Every method raises ObjectStoreUnavailable; those that take an id raise UploadNotFound."""

    def __init__(self, object_store: ObjectStore, ledger: UploadLedger, settings: Settings) -> None:
        self._object_store = object_store
        self._ledger = ledger
        self._settings = settings

    def start(self, tenant: str, size: int) -> Upload:
        """Announce an upload of ``size`` bytes. Raises TooManyUploads and StoreUnavailable."""
        upload_id, multipart_id = f"upload_{ULID()}", ""
        self._ledger.open(
            tenant,
            upload_id,
            size,
            max_count=self._settings.max_open_uploads,
            max_bytes=self._settings.max_open_upload_bytes,
            check_after_ms=round(COMPLETION_TIME.total_seconds() * 1000),
        )
        try:
            if size > MAX_SINGLE_BYTES:
                multipart_id = self._object_store.multipart.start(upload_data_key(tenant, upload_id))
            upload = Upload(upload_id, tenant, size, now_ms(), multipart_id)
            save_json(self._object_store, upload_meta_key(tenant, upload_id), asdict(upload))
        except ThinkqueueError:
            self._ledger.forget(tenant, upload_id)
            raise
        return upload

    def presigned_urls(self, upload: Upload) -> list[str]:
        """Return the PUT URLs: one for the whole file, or one for each part, in order. Each accepts one exact size."""
        credentials = self._object_store.credentials.retrieve()
        if not upload.multipart_id:
            return [
                presigned_put(self._settings, credentials, upload.key, size=upload.bytes, lifetime=PUT_URL_LIFETIME)
            ]
        return [
            presigned_put(
                self._settings,
                credentials,
                upload.key,
                size=min(PART_BYTES, upload.bytes - index * PART_BYTES),
                lifetime=PUT_URL_LIFETIME,
                part={"uploadId": upload.multipart_id, "partNumber": str(index + 1)},
            )
            for index in range(upload.part_count)
        ]

    def complete(self, tenant: str, upload_id: str, etags: list[str]) -> Upload:
        """Join the parts of an upload. May be repeated.

        Raises:
            Invalid: parts are missing, or the ETags do not match them.
        """
        upload = self.get(tenant, upload_id)
        if not upload.multipart_id:
            raise Invalid([Problem("/etags", "applies to uploads in parts; this upload is complete after its PUT")])
        if len(etags) != upload.part_count:
            raise Invalid([Problem("/etags", f"has {len(etags)} entries; the upload has {upload.part_count} parts")])
        is_complete = self._object_store.multipart.complete(upload.key, upload.multipart_id, etags)
        # Of a repeated call, some stores say that they do not know the upload.
        if not is_complete and not self._object_store.exists(upload.key):
            raise Invalid([Problem("/etags", "do not match the parts that were sent; send the parts again")])
        return upload

    def get(self, tenant: str, upload_id: str) -> Upload:
        if not ID.fullmatch(upload_id):
            raise UploadNotFound
        try:
            return load_upload(self._object_store, tenant, upload_id)
        except ObjectNotFound:
            raise UploadNotFound from None

    def find_for_job(self, tenant: str, upload_id: str, *, max_bytes: int, where: str) -> tuple[Upload, ObjectInfo]:
        """Return an upload that a new job may use, and its size and ETag.

        Args:
            where: JSON pointer to the field that names the upload, for errors.

        Raises:
            Invalid: the tenant has no such upload, its file was not sent, or it is too large.
        """
        try:
            upload = self.get(tenant, upload_id)
            if upload.expires_ms <= now_ms():
                raise UploadNotFound
            found = self._object_store.stat(upload.key)
        except UploadNotFound as error:
            raise Invalid([Problem(where, "names an upload that does not exist or has expired")]) from error
        except ObjectNotFound as error:
            raise Invalid([Problem(where, "names an upload whose file was not sent, or not completed")]) from error
        if found.bytes != upload.bytes:
            raise Invalid([Problem(where, f"names an upload of {found.bytes} bytes; {upload.bytes} were announced")])
        if found.bytes > max_bytes:
            raise Invalid(
                [
                    Problem(
                        where, f"names an upload of {format_size(found.bytes)}; the limit is {format_size(max_bytes)}"
                    )
                ]
            )
        return upload, found

    def keep(self, tenant: str, upload_id: str, *, until_ms: int) -> None:
        """Keep an upload at least until then, because a job uses it. Raises StoreUnavailable."""
        self._ledger.keep(tenant, upload_id, until_ms=until_ms, is_used=True)
