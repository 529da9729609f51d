"""Takes the pixel data out of a JPEG: https://www.w3.org/Graphics/JPEG/itu-t81.pdf"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.prepare.media.containers.stripped import MAX_METADATA_BYTES, StrippedFile
from worker.prepare.media.errors import MediaError

SIGNATURE, END_MARK = b"\xff\xd8\xff", b"\xff\xd9"
END, SCAN, COMMENT = 0xD9, 0xDA, 0xFE
JFIF, EXIF, ICC, ADOBE = 0xE0, 0xE1, 0xE2, 0xEE
MIN_BYTES = {JFIF: 14, ADOBE: 12}
"""The decoder ignores shorter segments; Pillow refuses the file."""
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that contain the size. Most of these kinds occur in medicine and maps only."""
DECODED_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
PROGRESSIVE_FRAMES = {0xC2, 0xCA}
MARKERS_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
SCAN_END = re.compile(rb"\xff[\xc4\xcc\xd8-\xdd\xe0-\xef\xfe]")
"""Other codes in a scan are restart markers, escaped data or damage."""
TABLE = re.compile(rb"\xff[\xc0-\xc2\xc4\xc9\xca\xdb]")
ICC_PREFIX, EXIF_PREFIX, XMP_PREFIX = b"ICC_PROFILE\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
MAX_LAST_ZEROS = 1
"""Zero bytes at the end of a file that may be pixel data; more are padding."""
HEIGHT_SEGMENT = b"\xff\xdc\0\4"
"""Marker and length of DNL; the height follows."""
NOISE = b"\x55\xb6" * 512
"""Decodes to visible pixels wherever pixels are missing."""
RESTARTS = [bytes((0xFF, marker)) for marker in range(0xD0, 0xD8)]
"""They follow each other in a circle, if a file has restart markers."""


@dataclass
class _Scans:
    """Which coefficients the scans of a file contain."""

    components: set[int] = field(default_factory=set)
    is_progressive: bool = False
    exact: dict[int, set[int]] = field(default_factory=dict)
    """Of each component the coefficients whose last bit is in a scan."""

    def add_frame(self, marker: int, segment: bytes) -> None:
        self.is_progressive = marker in PROGRESSIVE_FRAMES
        self.components = set(segment[6::3])

    def add_scan(self, segment: bytes) -> None:
        if not segment or len(segment) != 4 + 2 * segment[0]:
            return
        first, last, bits = segment[-3:]
        if not self.is_progressive:
            first, last, bits = 0, 63, 0
        if bits & 15 == 0:
            for component in segment[1:-3:2]:
                self.exact.setdefault(component, set()).update(range(first, min(last, 63) + 1))

    @property
    def are_complete(self) -> bool:
        return all(len(self.exact.get(component, ())) == 64 for component in self.components)


def strip_jpeg(data: bytes) -> StrippedFile:
    """Return the file without metadata, and up to its end mark, which is added where it is missing.

    Raises:
        MediaError: this kind of JPEG is not supported, or whole scans are missing.
    """
    scans = _Scans()
    kept: list[bytes] = []
    profile: dict[int, bytes] = {}
    exif, xmp = b"", None
    first_scan = 0
    for marker, start, end in _segments(data, 2):
        segment = data[start:end]
        if marker in FRAMES:
            segment = _with_height(segment, data)
            _check_frame(marker, segment)
            scans.add_frame(marker, segment)
        elif marker == SCAN:
            first_scan = start - 4
            break
        elif marker == EXIF and segment.startswith(EXIF_PREFIX):
            exif += segment[len(EXIF_PREFIX) :]
        elif marker == EXIF and segment.startswith(XMP_PREFIX):
            xmp = segment[len(XMP_PREFIX) :]
        elif marker == ICC and segment.startswith(ICC_PREFIX) and len(segment) > len(ICC_PREFIX) + 2:
            profile[segment[len(ICC_PREFIX)]] = segment[len(ICC_PREFIX) + 2 :]
        if _is_needed(marker, segment):
            kept.append(struct.pack(">BBH", 0xFF, marker, len(segment) + 2) + segment)
    if not first_scan:
        return StrippedFile(data)  # the decoder says what is wrong with it
    end, has_end = _end_of_scans(data, first_scan, scans)
    if not has_end and not scans.are_complete:
        raise MediaError("image_truncated", "the file ends before the last scan of the image; send the complete file.")
    icc = b"".join(profile[number] for number in sorted(profile))
    pixels = b"".join((data[:2], *kept, data[first_scan:end], END_MARK))
    has_icc = 0 < len(icc) <= MAX_METADATA_BYTES
    return StrippedFile(pixels, icc if has_icc else None, exif or None, xmp, may_be_truncated=not has_end)


def with_fills(data: bytes) -> Iterator[bytes]:
    """Yield a stripped file with other data between its last scan and its end mark.

    One of them shows the same picture if, and only if, the last scan is complete: a decoder skips what follows a
    complete scan, and reads it as pixels if some are missing.
    """
    pixels = data.removesuffix(END_MARK)
    last_scan = pixels.rfind(bytes((0xFF, SCAN)))
    places = [pixels.rfind(restart, last_scan) for restart in RESTARTS]
    next_restart = RESTARTS[(places.index(max(places)) + 1) % 8] if max(places) >= 0 else RESTARTS[0]
    for end in range(_without_padding(pixels), len(pixels) + 1):
        yield pixels[:end] + NOISE + next_restart + NOISE + END_MARK


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment, and where its content starts and ends. Skips damaged ones."""
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 3:
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in MARKERS_WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == END:
            return
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end < at + 4 or end > len(data):
            # A wrong length. The tables and the pixels may follow nevertheless.
            table = TABLE.search(data, at + 2)
            at = table.start() if table else len(data)
            continue
        yield marker, at + 4, end
        at = end


def _with_height(frame: bytes, data: bytes) -> bytes:
    """Return a frame header with the height that scanners write behind the first scan, because they learn it there."""
    height = data.find(HEIGHT_SEGMENT)
    if frame[1:3] != b"\0\0" or height < 0:
        return frame
    return frame[:1] + data[height + 4 : height + 6] + frame[3:]


def _check_frame(marker: int, segment: bytes) -> None:
    bits = segment[0] if segment else 8
    if marker not in DECODED_FRAMES or bits != 8:
        kind = "JPEG-LS" if marker == 0xF7 else f"JPEG with {bits} bits per channel" if bits != 8 else "lossless JPEG"
        message = f"it is a {kind} image, which is not supported; send a JPEG with 8 bits per channel, or a PNG."
        raise MediaError("image_unsupported", message)


def _is_needed(marker: int, segment: bytes) -> bool:
    """Whether a segment changes the decoded pixels. JFIF and Adobe segments say how colors are stored."""
    if marker == JFIF:
        return segment.startswith(b"JFIF\0") and len(segment) >= MIN_BYTES[JFIF]
    if marker == ADOBE:
        return segment.startswith(b"Adobe") and len(segment) >= MIN_BYTES[ADOBE]
    return marker < JFIF


def _end_of_scans(data: bytes, at: int, scans: _Scans) -> tuple[int, bool]:
    """Return where the data of the last scan ends, and whether an end mark follows."""
    while True:
        marker = data[at + 1]
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4].ljust(2, b"\0"))[0]
        if marker == SCAN:
            scans.add_scan(data[at + 4 : end])
        found = SCAN_END.search(data, max(end, at + 4))
        if found is None:
            return min(len(data), _without_padding(data) + MAX_LAST_ZEROS), False
        at = found.start()
        if data[at + 1] == END:
            return at, True
        if data[at + 1] == 0xD8:
            return at, False  # another image follows


def _without_padding(data: bytes) -> int:
    """Return the length of a file without the zeros that a file system or an interrupted download appended."""
    length = len(data.rstrip(b"\0"))
    if data[length - 1 : length] == b"\xff":
        return length + 1 if length < len(data) else length - 1  # an escaped FF, or half of the end mark
    return length
