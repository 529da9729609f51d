"""The eight orientations of EXIF: how stored pixels are turned and mirrored for display."""

import re
import struct

from PIL import Image

ORIENTATION_TAG = 0x0112
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MATRICES = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""By the upper left part of a display matrix: ``x' = a·x + c·y`` and ``y' = b·x + d·y`` for ``(a, b, c, d)``."""
SWAPPING = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
NUMBER_FORMATS = {1: "B", 3: "H", 4: "I"}
"""EXIF's number types. The standard wants the second, SHORT."""
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")
MAX_ENTRIES = 1_000


def transpose(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image upright. An unknown orientation changes nothing."""
    method = TRANSPOSITIONS.get(orientation)
    return image if method is None else image.transpose(method)


def exif_orientation(exif: bytes | None) -> int | None:
    """Return the orientation in EXIF data. None: it contains none. The other entries may be damaged.

    Args:
        exif: a TIFF structure.
    """
    order = {b"II": "<", b"MM": ">"}.get((exif or b"")[:2])
    if exif is None or order is None or len(exif) < 10:
        return None
    at = struct.unpack_from(f"{order}I", exif, 4)[0]
    if at + 2 > len(exif):
        return None
    entries = struct.unpack_from(f"{order}H", exif, at)[0]
    for number in range(min(entries, MAX_ENTRIES)):
        entry = exif[at + 2 + 12 * number : at + 14 + 12 * number]
        if len(entry) < 12:
            break
        tag, kind = struct.unpack_from(f"{order}HH", entry)
        if tag == ORIENTATION_TAG:
            value = struct.unpack_from(order + NUMBER_FORMATS.get(kind, "H"), entry, 8)[0]
            return int(value)
    return None


def xmp_orientation(xmp: bytes | None) -> int:
    """Return the orientation in XMP data, 1 if there is none."""
    found = XMP_ORIENTATION.search(xmp or b"")
    return int(found[1]) if found else 1


def matrix_orientation(matrix: bytes) -> int:
    """Return the orientation that is nearest to a video's display matrix.

    Args:
        matrix: nine 32-bit integers in this machine's byte order, as libav stores them.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    largest = max(map(abs, (a, b, c, d)))
    if not largest:
        return 1
    if abs(a) + abs(d) >= abs(b) + abs(c):
        corner = (1 if a > 0 else -1, 0, 0, 1 if d > 0 else -1)
    else:
        corner = (0, 1 if b > 0 else -1, 1 if c > 0 else -1, 0)
    return MATRICES[corner]
