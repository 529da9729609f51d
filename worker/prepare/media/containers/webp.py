"""Takes the pixel data out of a WebP: https://developers.google.com/speed/webp/docs/riff_container"""

import struct
from collections.abc import Iterator

from worker.prepare.media.containers.stripped import MAX_METADATA_BYTES, StrippedFile

RIFF_HEAD_BYTES = 12
CHUNK_HEAD_BYTES = 8
PIXEL_CHUNKS = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
METADATA_FLAGS = 0x20 | 0x08 | 0x04
"""Of VP8X: color profile, EXIF, XMP."""


def strip_webp(data: bytes) -> StrippedFile:
    """Return the file without metadata, with the size of what remains in its header.

    A file that ends within its pixels is returned as it is.
    """
    kept: list[bytes] = []
    metadata: dict[bytes, bytes] = {}
    for kind, content in _chunks(data):
        if content is None:
            return StrippedFile(data)  # the decoder refuses it
        if kind == b"VP8X" and content:
            content = bytes([content[0] & ~METADATA_FLAGS]) + content[1:]
        if kind == b"VP8X" or kind in PIXEL_CHUNKS:
            kept.append(struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) % 2))
        elif len(content) <= MAX_METADATA_BYTES:
            metadata.setdefault(kind, content)
    body = b"".join(kept)
    exif = metadata.get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    stripped = struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WEBP") + body
    return StrippedFile(stripped, metadata.get(b"ICCP"), exif or None, metadata.get(b"XMP "))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield the type and content of each chunk; None for pixels that the file does not contain completely."""
    at = RIFF_HEAD_BYTES
    while at + CHUNK_HEAD_BYTES <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        start, end = at + CHUNK_HEAD_BYTES, at + CHUNK_HEAD_BYTES + length
        if end > len(data):
            if kind in PIXEL_CHUNKS:
                yield kind, None
                return
            # A wrong length: the pixels may follow nevertheless.
            places = [place for name in PIXEL_CHUNKS if (place := data.find(name, at + 4)) >= 0]
            if not places:
                yield kind, data[start:]  # cut off; the orientation is often near its start
                return
            at = min(places)
            continue
        yield kind, data[start:end]
        at = end + length % 2
