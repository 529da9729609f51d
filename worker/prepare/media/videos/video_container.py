"""Compares the size that a video file declares with its actual size: a player shows what is there and says nothing."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 100_000
"""Top-level parts of a file that are read; a fragmented MP4 has a few per second."""
EBML_HEADER, SEGMENT = 0x1A45DFA3, 0x18538067
ISO_START_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")
INDEX_BOXES = (b"moov", b"moof")


@dataclass(frozen=True, slots=True)
class ContainerSize:
    declared_bytes: int
    """Where the last part of the file ends, as its header says."""
    actual_bytes: int
    has_index: bool = True
    """False: an MP4 or MOV whose description of its frames is missing. Recorders write it last."""

    @property
    def is_cut_off(self) -> bool:
        return self.actual_bytes < self.declared_bytes

    @property
    def share(self) -> float:
        """The share of the declared bytes that the file contains."""
        return min(1.0, self.actual_bytes / max(self.declared_bytes, 1))


def measure_container(path: Path) -> ContainerSize | None:
    """Read the sizes in a file's headers. None: its kind is not known, or it declares no size."""
    actual = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        if head[4:8] in ISO_START_BOXES:
            return _measure_iso(file, actual)
        if head.startswith(b"RIFF"):
            return ContainerSize(_riff_end(file, actual), actual)
        if head.startswith(EBML_HEADER.to_bytes(4, "big")):
            end = _segment_end(file)
            return None if end is None else ContainerSize(end, actual)
    return None


def _measure_iso(file: BinaryIO, actual: int) -> ContainerSize:
    boxes = list(_iso_boxes(file, actual))
    end = boxes[-1][1] if boxes else 0
    return ContainerSize(end, actual, has_index=any(kind in INDEX_BOXES for kind, _ in boxes))


def _iso_boxes(file: BinaryIO, actual: int) -> Iterator[tuple[bytes, int]]:
    """Yield the type and the end of each top-level box of an MP4 or MOV."""
    at = 0
    for _ in range(MAX_BOXES):
        if at > actual:
            return  # a size has up to 64 bits, more than a position in a file may have
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
        if size == 0:
            size = actual - at  # up to the end of the file
        if size < 8:
            return
        at += size
        yield kind, at


def _riff_end(file: BinaryIO, actual: int) -> int:
    """Return the end of an AVI. One of more than 1 GiB has several RIFF lists."""
    end = 0
    for _ in range(MAX_BOXES):
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or not head.startswith(b"RIFF") or end >= actual:
            break
        end += 8 + struct.unpack_from("<I", head, 4)[0]
    return end


def _segment_end(file: BinaryIO) -> int | None:
    """Return the end of a Matroska file's segment. None: it is not declared, as in a live recording."""
    head = file.read(4_096)
    at = 0
    for expected in (EBML_HEADER, SEGMENT):
        if head[at : at + 4] != expected.to_bytes(4, "big") or at + 5 > len(head):
            return None
        length = 9 - head[at + 4].bit_length()
        if length > 8:
            return None
        value = int.from_bytes(head[at + 4 : at + 4 + length], "big") & (1 << 7 * length) - 1
        if expected == SEGMENT:
            is_unknown = value == (1 << 7 * length) - 1
            return None if is_unknown else at + 4 + length + value
        at += 4 + length + value
    return None
