"""The objects of a file: a small record, and the content. A file is written once and never changes."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from jobs.model.documents.document_format import known_fields
from jobs.objects.documents import encode_json, parse
from jobs.objects.keys import file_content_key, file_id_of, file_record_key, file_record_prefix
from jobs.objects.store import ObjectStore


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The record of a file."""

    id: str
    tenant: str
    bytes: int
    created_ms: int
    expires_ms: int
    filename: str
    purpose: str
    start: str = ""
    """The first bytes in hexadecimal: enough to recognize the type of the file."""

    @property
    def key(self) -> str:
        """The key of the content."""
        return file_content_key(self.tenant, self.id)


def save_file(object_store: ObjectStore, file: StoredFile) -> None:
    """Write a record; the content must be stored already."""
    object_store.put(file_record_key(file.tenant, file.id), encode_json(asdict(file)), "application/json")


def load_file(object_store: ObjectStore, tenant: str, file_id: str) -> StoredFile:
    """Load a record. Raises ObjectNotFound and CorruptDocument."""
    key = file_record_key(tenant, file_id)
    return parse(key, object_store.get(key), _from_json)


def list_file_ids(object_store: ObjectStore, tenant: str) -> Iterator[str]:
    """Return the ids of a tenant's files, the oldest first."""
    return (file_id_of(key) for key in object_store.list_keys(file_record_prefix(tenant)))


def delete_file(object_store: ObjectStore, tenant: str, file_id: str) -> None:
    """Delete a file, first its record. Does nothing to one that does not exist."""
    object_store.delete(file_record_key(tenant, file_id))
    object_store.delete(file_content_key(tenant, file_id))


def _from_json(data: bytes) -> StoredFile:
    file = StoredFile(**known_fields(StoredFile, json.loads(data)))
    if not all(isinstance(number, int) for number in (file.bytes, file.created_ms, file.expires_ms)):
        raise TypeError("bytes, created_ms or expires_ms is not a number")
    if not all(isinstance(text, str) for text in (file.filename, file.purpose, file.start)):
        raise TypeError("filename, purpose or start is not a string")
    return file
