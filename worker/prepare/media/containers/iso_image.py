"""Reads how an AVIF or HEIF describes its colors: the ``nclx`` box of ISO/IEC 14496-12, 12.1.5."""

import struct

from worker.prepare.media.images.color_coding import ColorCoding

SEARCHED_BYTES = 2**18
"""Properties are in front of the pixels; an image with many tiles has some 10 kB of them."""
MARK = b"colrnclx"


def read_coding(data: bytes) -> ColorCoding | None:
    """Return the first description. None: there is none, or a color profile says it."""
    at = data.find(MARK, 0, SEARCHED_BYTES)
    if at < 0 or at + len(MARK) + 4 > len(data):
        return None
    return ColorCoding.of_code_points(*struct.unpack_from(">HH", data, at + len(MARK)))
