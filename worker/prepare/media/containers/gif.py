"""Takes the pixel data out of a GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt"""

from worker.prepare.media.containers.stripped import StrippedFile

SIGNATURES = (b"GIF87a", b"GIF89a")
HEADER_BYTES = 13
EXTENSION, IMAGE, CONTROL = 0x21, 0x2C, 0xF9
"""The control extension says which color is transparent."""


def strip_gif(data: bytes) -> StrippedFile:
    """Return the file without the comments and application data before its first image."""
    at = HEADER_BYTES
    if len(data) > at and data[10] & 0x80:
        at += 3 * 2 ** ((data[10] & 7) + 1)  # the color table
    kept = [data[:at]]
    while at + 2 < len(data) and data[at] == EXTENSION:
        end = _end_of_blocks(data, at + 2)
        if data[at + 1] == CONTROL:
            kept.append(data[at:end])
        at = end
    if at >= len(data) or data[at] != IMAGE:
        return StrippedFile(data)  # the decoder says what is wrong with it
    return StrippedFile(b"".join((*kept, data[at:])))


def _end_of_blocks(data: bytes, at: int) -> int:
    """Return the end of an extension's blocks: each begins with its length, and one of length 0 is the last."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1
