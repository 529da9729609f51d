"""What remains of an image file without its metadata."""

import zlib
from dataclasses import dataclass

from worker.prepare.media.images.color_coding import ColorCoding

MAX_METADATA_BYTES = 8 * 2**20
"""Of one unpacked piece of metadata. The largest color profiles, of printing presses, have about 3 MiB."""


@dataclass(frozen=True, slots=True)
class StrippedFile:
    data: bytes
    """The file with what decoding its pixels needs, and nothing else."""
    icc: bytes | None = None
    """Color profile."""
    exif: bytes | None = None
    """A TIFF structure, without the ``Exif`` prefix."""
    xmp: bytes | None = None
    gamma: float | None = None
    """A stored value is the light to the power of this. None: it follows from the profile, or is sRGB's."""
    coding: ColorCoding | None = None
    """None: it follows from the profile, or is sRGB."""
    may_be_truncated: bool = False
    """The file has no end mark. Pixels may be missing too."""


def decompress(data: bytes) -> bytes | None:
    """Return zlib's data unpacked. None: it is damaged, incomplete or longer than ``MAX_METADATA_BYTES``."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, MAX_METADATA_BYTES)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None
