"""Files of ``/v1/files``: clients send them once, and name them in later requests."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ulid import ULID

from jobs.errors import FileMissing, Invalid, Problem
from jobs.lifecycle.file_writer import FileWriter
from jobs.lifecycle.uploads import COMPLETION_TIME, EXPIRY_MARGIN_MS
from jobs.model.times import now_ms
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import CorruptDocument
from jobs.objects.files import StoredFile, delete_file, list_file_ids, load_file
from jobs.objects.store import ObjectInfo, ObjectStore
from jobs.table.uploads import UploadLedger
from runtime.settings import Settings
from runtime.sizes import format_size

FILE_PREFIX = "file-"
ID = re.compile(FILE_PREFIX + r"[0-9A-HJKMNP-TV-Z]{26}")
PARALLEL_READS = 8
NO_LIMIT = 2**50


@dataclass(frozen=True)
class FilePage:
    """A part of the list of a tenant's files."""

    files: list[StoredFile]
    has_more: bool


class Files:
    """The files of all tenants. Every method raises ObjectStoreUnavailable; those that take an id raise FileMissing.

    They share the limits of uploads (``MAX_OPEN_UPLOADS``, ``MAX_OPEN_UPLOAD_BYTES``). A file counts until it is
    deleted or expires.
    """

    def __init__(self, object_store: ObjectStore, ledger: UploadLedger, settings: Settings) -> None:
        self._object_store = object_store
        self._ledger = ledger
        self._settings = settings
        self._pool = ThreadPoolExecutor(PARALLEL_READS, "files")

    def start(self, tenant: str, size: int) -> FileWriter:
        """Begin a file.

        Args:
            size: as announced; it counts for the tenant's limits from here on.

        Raises:
            TooManyUploads
        """
        settings = self._settings
        limits = (settings.max_open_uploads, settings.max_open_upload_bytes)
        return self._start(tenant, f"{FILE_PREFIX}{ULID()}", size, *limits, max_bytes=settings.max_file_bytes)

    def start_output(self, tenant: str, file_id: str, size: int) -> FileWriter:
        """Begin a file that the service writes. It counts for the tenant's limits, and is not refused.

        Args:
            file_id: a file with this id, which an earlier attempt may have written, is replaced.
        """
        return self._start(tenant, file_id, size, NO_LIMIT, NO_LIMIT, max_bytes=NO_LIMIT)

    def _start(
        self, tenant: str, file_id: str, size: int, max_count: int, max_total_bytes: int, *, max_bytes: int
    ) -> FileWriter:
        self._ledger.open(
            tenant,
            file_id,
            size,
            max_count=max_count,
            max_bytes=max_total_bytes,
            check_after_ms=round(COMPLETION_TIME.total_seconds() * 1000),
        )
        return FileWriter(
            self._object_store,
            tenant,
            file_id,
            max_bytes=max_bytes,
            on_end=partial(self._note_end, tenant, file_id),
        )

    def get(self, tenant: str, file_id: str) -> StoredFile:
        """Return a file that has not expired."""
        file = self._find(tenant, file_id) if ID.fullmatch(file_id) else None
        if file is None:
            raise FileMissing(f"File {file_id[:80]!r} does not exist, or has expired.")
        return file

    def find_for_job(self, tenant: str, file_id: str, *, max_bytes: int, where: str) -> tuple[StoredFile, ObjectInfo]:
        """Return a file that a new job may use, and its size and ETag.

        Args:
            where: JSON pointer to the field that names the file, for errors.

        Raises:
            Invalid: the tenant has no such file, or it is too large.
        """
        try:
            file = self.get(tenant, file_id)
            found = self._object_store.stat(file.key)
        except (FileMissing, ObjectNotFound) as error:
            raise Invalid([Problem(where, "names a file that does not exist or has expired")]) from error
        if found.bytes > max_bytes:
            raise Invalid(
                [Problem(where, f"names a file of {format_size(found.bytes)}; the limit is {format_size(max_bytes)}")]
            )
        return file, found

    def page(self, tenant: str, *, after: str | None, limit: int, is_ascending: bool, purpose: str | None) -> FilePage:
        """Return a page of a tenant's files, by the time of their creation.

        Args:
            after: id of the last file of the previous page; it need not exist any more.
            purpose: only files with this purpose.
        """
        ids = sorted(list_file_ids(self._object_store, tenant), reverse=not is_ascending)
        if after is not None:
            ids = [one for one in ids if (one > after if is_ascending else one < after)]
        found: list[StoredFile] = []
        for some in _batches(ids):
            read = self._pool.map(partial(self._find, tenant), some)
            found += [file for file in read if file is not None and purpose in (None, file.purpose)]
            if len(found) > limit:
                break
        return FilePage(found[:limit], len(found) > limit)

    def read(self, file: StoredFile, *, offset: int, length: int) -> bytes:
        """Return a part of a file's content. Raises FileMissing: it was deleted meanwhile."""
        try:
            return self._object_store.get_range(file.key, offset=offset, length=length)
        except ObjectNotFound:
            raise FileMissing(f"File {file.id} does not exist any more.") from None

    def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file. Jobs that have no copy of it yet fail."""
        self.get(tenant, file_id)
        delete_file(self._object_store, tenant, file_id)
        self._ledger.forget(tenant, file_id)

    def keep(self, tenant: str, file_id: str, *, until_ms: int) -> None:
        """Keep the content at least until then, because a job uses it. Raises StoreUnavailable."""
        self._ledger.keep(tenant, file_id, until_ms=until_ms, is_used=False)

    def close(self) -> None:
        """Stop the threads; ``page`` cannot be called afterwards."""
        self._pool.shutdown()

    def _find(self, tenant: str, file_id: str) -> StoredFile | None:
        try:
            file = load_file(self._object_store, tenant, file_id)
        except (ObjectNotFound, CorruptDocument):
            return None
        return file if file.expires_ms > now_ms() else None

    def _note_end(self, tenant: str, file_id: str, expires_ms: int) -> None:
        if expires_ms:
            self._ledger.keep(tenant, file_id, until_ms=expires_ms + EXPIRY_MARGIN_MS, is_used=False)
        else:
            self._ledger.forget(tenant, file_id)


def is_file_id(text: str) -> bool:
    return text.startswith(FILE_PREFIX)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PARALLEL_READS * 8):
        yield ids[start : start + PARALLEL_READS * 8]
