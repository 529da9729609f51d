"""Deletes files and uploads that were not completed, or have expired and are used by no waiting job."""

import time

import structlog

from jobs.errors import NotInitialized, ObjectUnavailable, StoreUnavailable, Unavailable
from jobs.lifecycle.files import is_file_id
from jobs.lifecycle.uploads import EXPIRY_MARGIN_MS
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import CorruptDocument
from jobs.objects.files import delete_file, load_file
from jobs.objects.keys import upload_data_key, upload_meta_key
from jobs.objects.store import ObjectStore
from jobs.objects.uploads import load_upload
from jobs.table.uploads import UploadLedger

log = structlog.get_logger(__name__)

RETRY_MS = 10 * 60 * 1000
"""An upload whose objects cannot be deleted now is looked at again after this."""


class UploadCleanup:
    """Two keepers may run it at once."""

    def __init__(self, ledger: UploadLedger, object_store: ObjectStore) -> None:
        self._ledger = ledger
        self._object_store = object_store

    def run(self) -> None:
        """Process the uploads that are due. One that fails is retried later, after the others.

        Raises:
            Unavailable, NotInitialized: a server does not answer.
        """
        for tenant, upload_id in self._ledger.due():
            try:
                if is_file_id(upload_id):
                    self._look_at_file(tenant, upload_id)
                else:
                    self._look_at(tenant, upload_id)
            except (StoreUnavailable, NotInitialized):
                raise
            except Exception as error:
                self._postpone(tenant, upload_id)
                if isinstance(error, Unavailable) and not isinstance(error, ObjectUnavailable):
                    raise
                is_expected = isinstance(error, ObjectUnavailable)
                log.warning(
                    "upload.removal_failed",
                    tenant=tenant,
                    upload_id=upload_id,
                    detail=str(error),
                    exc_info=None if is_expected else error,
                )

    def _postpone(self, tenant: str, upload_id: str) -> None:
        later_ms = time.time_ns() // 1_000_000 + RETRY_MS
        self._ledger.keep(tenant, upload_id, until_ms=later_ms, is_used=False)

    def _look_at(self, tenant: str, upload_id: str) -> None:
        key = upload_data_key(tenant, upload_id)
        try:
            upload = load_upload(self._object_store, tenant, upload_id)
        except (ObjectNotFound, CorruptDocument):
            upload = None
        if upload is not None:
            if upload.expires_ms > time.time_ns() // 1_000_000 and self._object_store.exists(key):
                until_ms = upload.expires_ms + EXPIRY_MARGIN_MS
                self._ledger.keep(tenant, upload_id, until_ms=until_ms, is_used=False)
                return
            if upload.multipart_id:
                self._object_store.multipart.abort(key, upload.multipart_id)
        self._object_store.delete(key)
        self._object_store.delete(upload_meta_key(tenant, upload_id))
        self._ledger.forget(tenant, upload_id)
        log.info("upload.removed", tenant=tenant, upload_id=upload_id)

    def _look_at_file(self, tenant: str, file_id: str) -> None:
        try:
            expires_ms = load_file(self._object_store, tenant, file_id).expires_ms
        except (ObjectNotFound, CorruptDocument):
            expires_ms = 0
        if expires_ms > time.time_ns() // 1_000_000:
            self._ledger.keep(tenant, file_id, until_ms=expires_ms + EXPIRY_MARGIN_MS, is_used=False)
            return
        delete_file(self._object_store, tenant, file_id)
        self._ledger.forget(tenant, file_id)
        log.info("file.removed", tenant=tenant, file_id=file_id)
