"""Generated images, and the parts of image files."""

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms

RED, BLUE = (220, 20, 30), (20, 30, 220)
PNG_HEADER_BYTES = 33
"""Signature and IHDR."""
Primaries = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
PROPHOTO: Primaries = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82521))
"""XYZ of red, green and blue for the white point D50."""
DISPLAY_P3: Primaries = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB: Primaries = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def two_colored(size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Left red, right blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def exif_with_orientation(orientation: int) -> bytes:
    """Return EXIF data, with its prefix."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_png_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Insert a chunk before the pixels."""
    return png[:PNG_HEADER_BYTES] + png_chunk(kind, data) + png[PNG_HEADER_BYTES:]


def with_jpeg_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """Insert a segment before all others."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + jpeg[2:]


def riff_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)


def with_webp_chunks(webp: bytes, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """Add chunks to a WebP of one chunk. Its header then announces a color profile, EXIF and XMP."""
    with Image.open(io.BytesIO(webp)) as image:
        width, height = image.size
    flags = struct.pack("<I", 0x20 | 0x08 | 0x04)
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = riff_chunk(b"VP8X", flags + sizes) + before + webp[12:] + after
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def rgb_profile(primaries: Primaries) -> bytes:
    """Return a color profile with sRGB's tone curve and other primaries."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    places = {name: at for name, at, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])}
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True):
        struct.pack_into(">3i", profile, places[name] + 8, *(round(value * 65_536) for value in xyz))
    return bytes(profile)


def gray_profile(gamma: float) -> bytes:
    """Return a profile for gray images whose values are the light to the power of 1/``gamma``."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63_190, 65_536, 54_061)
    tags = {b"kTRC": curve, b"wtpt": white}
    at, table, content = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(content), len(data))
        content += data
    header = struct.pack(">I4sI4s4s4s", at + len(content), bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63_190, 65_536, 54_061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + content


def cmyk_profile() -> bytes:
    """Return a profile of a press whose inks absorb all light of one primary each."""
    corners = []
    for number in range(16):
        cyan, magenta, yellow, black = (number >> shift & 1 for shift in (3, 2, 1, 0))
        color = tuple(0 if black or ink else 255 for ink in (cyan, magenta, yellow))
        corners.append(color)
    pixels = Image.frombytes("RGB", (16, 1), bytes(value for color in corners for value in color))
    lab = ImageCms.profileToProfile(
        pixels, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    # Pillow returns a and b as signed numbers; ICC stores them with an offset of 128.
    values = bytes(value ^ (128 if number % 3 else 0) for number, value in enumerate(lab.tobytes()))
    identity = b"".join(struct.pack(">i", 65_536 * (row == column)) for row in range(3) for column in range(3))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + values + ramp * 3
    at = 128 + 4 + 12
    header = struct.pack(">I4sI4s4s4s", at + len(table), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63_190, 65_536, 54_061) + bytes(48)
    return header + struct.pack(">I", 1) + struct.pack(">4sII", b"A2B0", at, len(table)) + table
