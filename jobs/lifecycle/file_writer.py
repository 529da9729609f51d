"""Writes the content of a file in pieces, without holding all of it."""

import time
from collections.abc import Callable

from jobs.errors import Invalid, Problem
from jobs.objects.files import StoredFile, delete_file, save_file
from jobs.objects.keys import file_content_key
from jobs.objects.store import ObjectStore
from runtime.sizes import MIB, format_size

PART_BYTES = 8 * MIB
"""Of a multipart upload to the object store; a smaller file is sent in one piece."""
START_BYTES = 64
"""As many bytes as ``StoredFile.start`` has."""


class FileWriter:
    """Collects the content of one file. Every method raises ObjectStoreUnavailable."""

    def __init__(
        self, object_store: ObjectStore, tenant: str, file_id: str, *, max_bytes: int, on_end: Callable[[int], None]
    ) -> None:
        """
        Args:
            on_end: called with the time (ms since 1970) until which the file is kept; 0 after ``discard``.
        """
        self.file_id = file_id
        self.bytes = 0
        self._object_store = object_store
        self._tenant = tenant
        self._max_bytes = max_bytes
        self._on_end = on_end
        self._key = file_content_key(tenant, file_id)
        self._buffer = bytearray()
        self._start = b""
        self._multipart_id = ""
        self._etags: list[str] = []

    def write(self, data: bytes) -> None:
        """Append bytes; blocks when a part is sent. Raises Invalid: the file is too large."""
        self.bytes += len(data)
        if self.bytes > self._max_bytes:
            raise Invalid(
                [Problem("/file", f"has more than {format_size(self._max_bytes)} ({self._max_bytes} bytes), the limit")]
            )
        if len(self._start) < START_BYTES:
            self._start += data[: START_BYTES - len(self._start)]
        self._buffer += data
        while len(self._buffer) > PART_BYTES:
            self._send_part(PART_BYTES)

    def finish(self, *, filename: str, purpose: str, lifetime_s: int) -> StoredFile:
        """Store the rest and the record. From here on the file exists."""
        if self._multipart_id:
            self._send_part(len(self._buffer))
            self._object_store.multipart.complete(self._key, self._multipart_id, self._etags)
        else:
            self._object_store.put(self._key, bytes(self._buffer))
        now_ms = time.time_ns() // 1_000_000
        expires_ms = now_ms + lifetime_s * 1000
        file = StoredFile(
            self.file_id, self._tenant, self.bytes, now_ms, expires_ms, filename, purpose, self._start.hex()
        )
        save_file(self._object_store, file)
        self._on_end(expires_ms)
        return file

    def discard(self) -> None:
        """Delete what was stored."""
        if self._multipart_id:
            self._object_store.multipart.abort(self._key, self._multipart_id)
        delete_file(self._object_store, self._tenant, self.file_id)
        self._on_end(0)

    def _send_part(self, size: int) -> None:
        if not self._multipart_id:
            self._multipart_id = self._object_store.multipart.start(self._key)
        data = bytes(self._buffer[:size])
        number = len(self._etags) + 1
        self._etags.append(self._object_store.multipart.send_part(self._key, self._multipart_id, number, data))
        del self._buffer[:size]
