"""Reads the requests of a batch from its input file, from the first line that is not settled on."""

from collections.abc import Iterator

from jobs.batches.batch import Batch
from jobs.batches.lines import Line, read_lines
from jobs.batches.window import Parts, Request
from jobs.errors import FileMissing, Unavailable

CHUNK_LINES, CHUNK_BYTES = 32, 8 * 2**20
"""Lines that are submitted at the same time, and that are in memory while they wait for room in the queue."""


class Source:
    """The input of one batch."""

    def __init__(self, parts: Parts, batch: Batch, *, offset: int, number: int) -> None:
        """
        Args:
            offset: bytes before the first line.
            number: of lines before it.
        """
        self.is_read = False
        """No line is left."""
        self.is_missing = False
        """The file was deleted."""
        self._parts = parts
        self._batch = batch
        self._lines: Iterator[Line] | None = None
        self._offset, self._number = offset, number
        """Up to where the input is read."""

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are not read yet. Raises FileMissing, LineTooLong, ObjectStoreUnavailable."""
        files, limit = self._parts.files, self._parts.max_line_bytes
        file = files.get(self._batch.tenant, self._batch.input_file_id)
        yield from read_lines(files, file, offset=self._offset, number=self._number, max_bytes=limit)

    def next_requests(self, most: int) -> list[Request]:
        """Return the next requests, as many as may be submitted at the same time. Raises ObjectStoreUnavailable."""
        found: list[Request] = []
        size = 0
        try:
            while len(found) < min(most, CHUNK_LINES) and size < CHUNK_BYTES:
                self._lines = self._lines or self.lines()
                if (line := next(self._lines, None)) is None:
                    self.is_read = True
                    break
                document = self._parts.requests.parse(line.data)
                found.append(Request(line.number, document["custom_id"], line.end, document["body"]))
                self._offset, self._number = line.end, line.number
                size += len(line.data)
        except FileMissing:
            self.is_read = self.is_missing = True
        except Unavailable:
            self._lines = None  # a generator that has failed is at its end
            if not found:
                raise
        return found
