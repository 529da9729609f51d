"""Reads the lines of an input file in pieces."""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.lifecycle.files import Files
from jobs.objects.files import StoredFile

PIECE_BYTES = 2**20


class LineTooLong(Exception):
    """A line has more bytes than a request may have."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} is too long")
        self.number = number


@dataclass(frozen=True)
class Line:
    """A line of the input that is not blank."""

    number: int
    """From 1; blank lines count."""
    data: bytes
    end: int
    """Where the next line begins, in bytes."""


def read_lines(files: Files, file: StoredFile, *, offset: int, number: int, max_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file from ``offset`` on.

    Args:
        offset: where a line begins.
        number: of lines before it.
        max_bytes: of a line.

    Raises:
        LineTooLong
        FileMissing: the file was deleted.
        ObjectStoreUnavailable
    """
    buffer, end = bytearray(), offset
    position = offset
    while position < file.bytes:
        searched = len(buffer)
        piece = files.read(file, offset=position, length=PIECE_BYTES)
        if not piece:
            break
        buffer += piece
        position += len(piece)
        while (cut := buffer.find(b"\n", searched)) >= 0:
            number, end, searched = number + 1, end + cut + 1, 0
            line = bytes(buffer[:cut])
            del buffer[: cut + 1]  # in constant time; a slice would copy the rest for each line
            if len(line) > max_bytes:
                raise LineTooLong(number)
            if line.strip():
                yield Line(number, line, end)
        if len(buffer) > max_bytes:
            raise LineTooLong(number + 1)
    if buffer.strip():
        yield Line(number + 1, bytes(buffer), end + len(buffer))
