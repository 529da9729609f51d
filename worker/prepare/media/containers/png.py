"""Takes the pixel data out of a PNG: https://www.w3.org/TR/png-3/"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from worker.prepare.media.containers.stripped import StrippedFile, decompress
from worker.prepare.media.errors import MediaError
from worker.prepare.media.images.color_coding import ColorCoding

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 8
"""Length and type of a chunk; its data and a checksum of 4 bytes follow."""
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS")
"""Besides IDAT and IEND. An animation's first picture is in IDAT too."""
TRANSPARENCY_BYTES = {b"\0": 2, b"\2": 6, b"\3": 1}
"""Least length of tRNS by color type: gray, RGB, palette. Other types have none."""
MIN_GAMUT_AREA = 0.05
"""Of the triangle of the primaries in CIE xy; that of sRGB has 0.11."""
XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_EXIF_KEYWORDS = (b"Raw profile type exif", b"Raw profile type APP1")
"""ImageMagick's form of EXIF data: hexadecimal, behind a line with its length."""


def strip_png(data: bytes) -> StrippedFile:
    """Return the file without metadata, with valid checksums.

    Decoders refuse a whole file because of one large text, or one wrong checksum of a chunk that they do not need.

    Raises:
        MediaError: it is Apple's own variant of PNG.
    """
    kept: list[tuple[bytes, bytes]] = []
    pixels: list[bytes] = []
    depth = color_type = b""
    metadata: dict[str, Any] = {}
    for kind, content, has_valid_checksum in _chunks(data):
        if kind == b"CgBI":
            message = "it is a PNG in Apple's CgBI variant, which only iOS reads; send a standard PNG."
            raise MediaError("image_unsupported", message)
        if kind == b"IDAT":
            pixels.append(content)
        elif kind == b"tRNS" and len(content) < TRANSPARENCY_BYTES.get(color_type, 256):
            continue
        elif kind in PIXEL_CHUNKS:
            if not has_valid_checksum and kind != b"tRNS":
                return StrippedFile(data)  # the decoder says what is wrong with it
            if kind == b"IHDR":
                depth, color_type = content[8:9], content[9:10]
            if kind == b"tRNS" and (depth, color_type) == (b"\x10", b"\2"):
                # Pillow compares it with the higher byte of the colors.
                content = bytes((0, content[0], 0, content[2], 0, content[4]))
            kept.append((kind, content))
        else:
            with suppress(ValueError, IndexError):
                _read_metadata(kind, content, metadata)
    _choose_color_space(metadata)
    head = [_written(*chunk) for chunk in kept]
    joined = _written(b"IDAT", b"".join(pixels)) if pixels else b""
    return StrippedFile(SIGNATURE + b"".join(head) + joined + _written(b"IEND", b""), **metadata)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield type, data and whether the checksum is valid, up to IEND or the end of what can be read."""
    view, at, has_pixels = memoryview(data), len(SIGNATURE), False
    while at + HEAD_BYTES <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + HEAD_BYTES, at + HEAD_BYTES + length
        if not kind.isalpha() or (end > len(data) and kind != b"IDAT"):
            # A wrong length: the pixels may follow nevertheless.
            found = data.find(b"IDAT", at + 5)
            if has_pixels or found < 0:
                return
            at = found - 4
            continue
        if kind == b"IEND":
            return
        checksum = data[end : end + 4]
        # Pixel data has a checksum of its own, inside.
        is_valid = kind == b"IDAT" or checksum == zlib.crc32(view[at + 4 : end]).to_bytes(4, "big")
        has_pixels = has_pixels or kind == b"IDAT"
        yield kind, data[start:end], is_valid
        at = end + 4


def _written(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))


def _read_metadata(kind: bytes, content: bytes, metadata: dict[str, Any]) -> None:
    """Add what a chunk says about orientation and colors. Raises ValueError, IndexError if it is damaged."""
    if kind == b"eXIf":
        metadata["exif"] = content.removeprefix(b"Exif\0\0")
    elif kind == b"gAMA" and len(content) == 4:
        metadata["gamma"] = int.from_bytes(content, "big") / 100_000 or None
    elif kind == b"cHRM" and len(content) == 32:
        metadata["coding"] = _chromaticities(content)
    elif kind == b"cICP" and len(content) == 4 and content[2:] == b"\0\1":  # RGB, full range
        metadata["code_points"] = ColorCoding.of_code_points(content[0], content[1])
    elif kind == b"sRGB":
        metadata["is_srgb"] = True
    elif kind == b"iCCP":
        if icc := decompress(content.split(b"\0", 1)[1][1:]):
            metadata["icc"] = icc
    elif kind in (b"tEXt", b"zTXt", b"iTXt"):
        keyword, rest = content.split(b"\0", 1)
        _read_text(kind, keyword, rest, metadata)


def _choose_color_space(metadata: dict[str, Any]) -> None:
    """Keep the first description of the colors in the order of PNG 3: cICP, iCCP, sRGB, then gAMA and cHRM."""
    is_srgb, coding = metadata.pop("is_srgb", False), metadata.pop("code_points", None)
    if coding is not None:
        metadata.pop("icc", None)
        metadata["coding"], metadata["gamma"] = coding, coding.gamma
    elif is_srgb or "icc" in metadata:
        metadata.pop("gamma", None)
        metadata.pop("coding", None)


def _chromaticities(content: bytes) -> ColorCoding | None:
    primaries = tuple(value / 100_000 for value in struct.unpack(">8I", content))
    _, _, red_x, red_y, green_x, green_y, blue_x, blue_y = primaries
    area = abs((green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)) / 2
    is_plausible = all(0 < value < 1 for value in primaries) and area > MIN_GAMUT_AREA
    return ColorCoding(primaries) if is_plausible else None


def _read_text(kind: bytes, keyword: bytes, rest: bytes, metadata: dict[str, Any]) -> None:
    if keyword == XMP_KEYWORD and kind == b"iTXt":
        text = rest[2:].split(b"\0", 2)[2]
        metadata["xmp"] = decompress(text) if rest[0] else text
    elif keyword in RAW_EXIF_KEYWORDS:
        value = rest if kind == b"tEXt" else decompress(rest[1:])
        raw = bytes.fromhex(b"".join((value or b"").split()[2:]).decode("ascii"))
        metadata.setdefault("exif", raw.removeprefix(b"Exif\0\0"))
