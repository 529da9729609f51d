"""The objects of an upload: a file that a client sends directly to the object store, for later jobs."""

import json
from dataclasses import dataclass

from jobs.model.documents.document_format import known_fields
from jobs.model.retention import DAY_MS
from jobs.objects.documents import parse
from jobs.objects.keys import upload_data_key, upload_meta_key
from jobs.objects.lifecycle_rules import UPLOAD_RETENTION_DAYS
from jobs.objects.store import ObjectStore

PART_BYTES = 16 * 2**20
"""A larger file than ``MAX_SINGLE_BYTES`` (jobs/lifecycle/uploads.py) is uploaded in parts of this size."""


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


def load_upload(object_store: ObjectStore, tenant: str, upload_id: str) -> Upload:
    """Load what a client announced. Raises ObjectNotFound and CorruptDocument."""
    key = upload_meta_key(tenant, upload_id)
    return parse(key, object_store.get(key), _from_json)


def _from_json(data: bytes) -> Upload:
    upload = Upload(**known_fields(Upload, json.loads(data)))
    if not (isinstance(upload.bytes, int) and isinstance(upload.created_ms, int)):
        raise TypeError("bytes or created_ms is not a number")
    if not isinstance(upload.multipart_id, str):
        raise TypeError("multipart_id is not a string")
    return upload
