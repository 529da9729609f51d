"""Checks what a decoder returned and wrote before the worker uses it: a decoder that a file took over may lie.

The decoder has ended when its outputs are checked, and every decoder writes into a folder of its own, so that a file
cannot change between its check and its upload.
"""

import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

from worker.prepare.media.errors import MediaError

PNG_HEADER = struct.Struct(">8s4x4sII")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_IMAGE_FILE_BYTES = 2**30
MAX_FRAMES_FILE_BYTES = 2**32
MAX_PDF_BYTES = 2**30
MAX_SIDE = 2**20
PIXEL_TOLERANCE = 2


def check_file(file: Path, *, max_bytes: int) -> None:
    """Refuse an output that is not a regular file of the worker's user, or is too large. Raises MediaError."""
    try:
        found = os.lstat(file)
    except OSError as error:
        raise _invalid("a file is missing") from error
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
        raise _invalid("it is not a regular file")
    if found.st_size > max_bytes:
        raise _invalid(f"it has {found.st_size} bytes; the limit is {max_bytes}")


def check_png(file: Path, width: int, height: int) -> None:
    """Refuse an output that is not a PNG of the size that the decoder returned. Raises MediaError."""
    check_file(file, max_bytes=MAX_IMAGE_FILE_BYTES)
    with file.open("rb") as content:
        header = content.read(PNG_HEADER.size)
    if len(header) < PNG_HEADER.size or PNG_HEADER.unpack(header) != (PNG_SIGNATURE, b"IHDR", width, height):
        raise _invalid("it is not a PNG of the size that was announced")


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse a size that is larger than asked for, apart from rounding to whole patches. Raises MediaError."""
    if width * height > PIXEL_TOLERANCE * max_pixels:
        raise _invalid(f"it has {width}×{height} pixels; the limit is {max_pixels}")


def parse_list(reply: Any, length: int) -> list[Any]:
    """Return a decoder's reply as a list of a known length. Raises MediaError."""
    if not isinstance(reply, list) or len(reply) != length:
        raise _invalid("the reply has another form")
    return reply


def parse_sizes(reply: Any, count: int) -> list[int]:
    """Return a decoder's reply as ``count`` sizes in pixels. Raises MediaError."""
    if not all(map(_is_size, parse_list(reply, count))):
        raise _invalid("the sizes are not valid")
    return list(reply)


def parse_seconds(reply: Any, max_count: int) -> tuple[float, ...]:
    """Return a decoder's reply as the times of frames in seconds. Raises MediaError."""
    if not isinstance(reply, list) or not 0 < len(reply) <= max_count or not all(map(_is_time, reply)):
        raise _invalid("the times of the frames are not valid")
    return tuple(float(second) for second in reply)


def parse_count(reply: Any, maximum: int) -> int:
    """Return a decoder's reply as a number from 1. Raises MediaError."""
    if type(reply) is not int or not 0 < reply <= maximum:
        raise _invalid("the number of pages is not valid")
    return reply


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _invalid(reason: str) -> MediaError:
    return MediaError("decode_crashed", f"the decoder wrote an invalid output ({reason}); send another file.")
