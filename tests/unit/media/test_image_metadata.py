"""Damaged, large and unusual metadata: the pixels are shown nevertheless, upright and in sRGB."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from testing.inputs.images import (
    BLUE,
    RED,
    encoded,
    exif_with_orientation,
    png_chunk,
    riff_chunk,
    two_colored,
    with_jpeg_segment,
    with_png_chunk,
    with_webp_chunks,
)
from tests.unit.media.test_image import normalized, pixels
from worker.prepare.media.containers.png import strip_png
from worker.prepare.media.errors import MediaError

JPEG = encoded(two_colored(), "JPEG", quality=95)
PNG = encoded(two_colored())
LOSSLESS = {"lossless": True}
WEBP = encoded(two_colored(), "WEBP", **LOSSLESS)
TEXT = b'{"nodes": [1, 2, 3]}' * 100_000
JUNK = bytes(range(256)) * 8


def damaged_checksum(chunk: bytes) -> bytes:
    return chunk[:-4] + bytes(byte ^ 255 for byte in chunk[-4:])


def tiff_with_far_tags() -> bytes:
    """Build a TIFF whose EXIF, XMP and color profile lie behind its end."""
    exif = Image.Exif()
    exif[0x8773], exif[700], exif[0x010F] = b"x" * 900, b"y" * 900, "maker"
    data = bytearray(encoded(two_colored(), "TIFF", exif=exif))
    for tag in (0x8773, 700):
        place = data.index(struct.pack("<H", tag))
        data[place + 8 : place + 12] = struct.pack("<I", 2**31)
    return bytes(data)


def height_behind(jpeg: bytes) -> bytes:
    """Move the height from the header to a segment behind the pixels, as some scanners write it."""
    frame = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:frame] + b"\0\0" + jpeg[frame + 2 : -2] + b"\xff\xdc\0\4" + jpeg[frame : frame + 2] + jpeg[-2:]


def split_pixels(png: bytes) -> bytes:
    place = png.index(b"IDAT")
    (length,) = struct.unpack_from(">I", png, place - 4)
    content = png[place + 4 : place + 4 + length]
    parts = png_chunk(b"IDAT", content[:9]) + png_chunk(b"tEXt", b"a\0b") + png_chunk(b"IDAT", content[9:])
    return png[: place - 4] + parts + png_chunk(b"IEND", b"")


def with_gif_extension(extension: bytes) -> bytes:
    gif = encoded(two_colored(), "GIF")
    image = gif.index(b"\x2c\0\0\0\0")
    return gif[:image] + extension + gif[image:]


UNNEEDED: dict[str, Callable[[], bytes]] = {
    "PNG: large compressed text": lambda: with_png_chunk(PNG, b"zTXt", b"workflow\0\0" + zlib.compress(TEXT)),
    "PNG: large compressed XMP": lambda: with_png_chunk(
        PNG, b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(TEXT)
    ),
    "PNG: text that unpacks to 16 MiB": lambda: with_png_chunk(
        PNG, b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(2**24))
    ),
    "PNG: many texts": lambda: with_png_chunk(PNG, b"tEXt", b"note\0" + TEXT * 5),
    "PNG: large color profile": lambda: with_png_chunk(PNG, b"iCCP", b"x\0\0" + zlib.compress(JUNK * 1_000)),
    "PNG: damaged color profile": lambda: with_png_chunk(PNG, b"iCCP", b"x\0\0not zlib"),
    "PNG: unknown compression": lambda: with_png_chunk(PNG, b"zTXt", b"note\0\7" + zlib.compress(b"text")),
    "PNG: empty chunks": lambda: (
        PNG[:33]
        + b"".join(
            png_chunk(kind, b"") for kind in (b"iCCP", b"zTXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"acTL", b"eXIf")
        )
        + PNG[33:]
    ),
    "PNG: wrong checksum of a text": lambda: PNG[:33] + damaged_checksum(png_chunk(b"tEXt", b"a\0b")) + PNG[33:],
    "PNG: wrong checksum of its size in inches": lambda: (
        PNG[:33] + damaged_checksum(png_chunk(b"pHYs", bytes(9))) + PNG[33:]
    ),
    "PNG: wrong length of a text": lambda: PNG[:33] + struct.pack(">I", 2**31 - 1) + b"tEXta\0b" + bytes(4) + PNG[33:],
    "PNG: damaged animation": lambda: with_png_chunk(with_png_chunk(PNG, b"fcTL", bytes(26)), b"acTL", b"\0\0\0\2"),
    "PNG: wrong checksum of the pixels": lambda: PNG[:-16] + bytes(4) + PNG[-12:],
    "PNG: no end": lambda: PNG[:-12],
    "PNG: end of the end is missing": lambda: PNG[:-4],
    "JPEG: Adobe segment too short": lambda: with_jpeg_segment(JPEG, 0xEE, b"Adobe\0"),
    "JPEG: JFIF segment too short": lambda: with_jpeg_segment(JPEG[:2] + JPEG[20:], 0xE0, b"JFIF\0\1"),
    "JPEG: empty EXIF": lambda: with_jpeg_segment(JPEG, 0xE1, b"Exif\0\0"),
    "JPEG: damaged EXIF": lambda: with_jpeg_segment(JPEG, 0xE1, b"Exif\0\0II*\0" + JUNK),
    "JPEG: EXIF that refers to itself": lambda: with_jpeg_segment(
        JPEG, 0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0"
    ),
    "JPEG: Photoshop segment cut off": lambda: with_jpeg_segment(JPEG, 0xED, b"Photoshop 3.0\x008BIM\3"),
    "JPEG: multi-picture index damaged": lambda: with_jpeg_segment(JPEG, 0xE2, b"MPF\0II*\0" + JUNK),
    "JPEG: one part of two of a color profile": lambda: with_jpeg_segment(JPEG, 0xE2, b"ICC_PROFILE\0\1\2" + JUNK),
    "JPEG: 100 large segments": lambda: (
        JPEG[:2] + (struct.pack(">BBH", 0xFF, 0xEB, 65_535) + bytes(65_533)) * 100 + JPEG[2:]
    ),
    "JPEG: a byte between segments": lambda: JPEG[:20] + b"\0" + JPEG[20:],
    "JPEG: fill bytes between segments": lambda: JPEG[:20] + b"\xff\xff\xff" + JPEG[20:],
    "JPEG: length of zero": lambda: JPEG[:20] + b"\xff\xe3\0\0" + JPEG[20:],
    "JPEG: wrong length": lambda: JPEG[:20] + b"\xff\xe3\xff\xf0" + JPEG[20:],
    "JPEG: no end": lambda: JPEG[:-2],
    "JPEG: half an end": lambda: JPEG[:-1],
    "JPEG: zeros instead of the end": lambda: JPEG[:-2] + bytes(4_096),
    "JPEG: progressive, no end": lambda: encoded(two_colored(), "JPEG", quality=95, progressive=True)[:-2],
    "JPEG: a second image instead of the end": lambda: JPEG[:-2] + JPEG,
    "WebP: wrong size": lambda: WEBP[:4] + struct.pack("<I", len(WEBP) + 100) + WEBP[8:],
    "WebP: size of zero": lambda: WEBP[:4] + bytes(4) + WEBP[8:],
    "WebP: damaged EXIF": lambda: with_webp_chunks(WEBP, after=riff_chunk(b"EXIF", b"Exif\0\0II*\0" + JUNK)),
    "WebP: damaged color profile": lambda: with_webp_chunks(WEBP, before=riff_chunk(b"ICCP", JUNK)),
    "WebP: EXIF longer than the file": lambda: with_webp_chunks(WEBP, after=b"EXIF\xff\xff\xff\x7f"),
    "WebP: announced metadata is missing": lambda: with_webp_chunks(WEBP),
    "WebP: unknown chunk": lambda: with_webp_chunks(WEBP, before=riff_chunk(b"ABCD", JUNK)),
    "TIFF: tags outside of the file": tiff_with_far_tags,
    "TIFF: damaged color profile": lambda: encoded(two_colored(), "TIFF", icc_profile=JUNK),
    "HEIC: damaged EXIF": lambda: encoded(two_colored(), "HEIF", quality=95, exif=b"Exif\0\0II*\0" + JUNK),
    "JPEG: height behind the pixels": lambda: height_behind(JPEG),
    "PNG: transparency too short": lambda: with_png_chunk(PNG, b"tRNS", b"\0"),
    "PNG: transparency of another color type": lambda: with_png_chunk(
        encoded(two_colored().convert("RGBA")), b"tRNS", bytes(6)
    ),
    "PNG: pixels in pieces with a text between": lambda: split_pixels(PNG),
    "GIF: large comment": lambda: with_gif_extension(b"\x21\xfe" + (b"\xff" + bytes(255)) * 5_000 + b"\0"),
    "GIF: empty application data": lambda: with_gif_extension(b"\x21\xff\x0bNETSCAPE2.0\0"),
    "GIF: unknown extension": lambda: with_gif_extension(b"\x21\x99\x03abc\0"),
    "GIF: no end": lambda: encoded(two_colored(), "GIF")[:-1],
}


@pytest.mark.parametrize("name", UNNEEDED)
def test_metadata_that_is_damaged_or_large_does_not_hide_the_pixels(name: str) -> None:
    found = pixels(normalized(UNNEEDED[name]()))
    assert found.shape == (60, 80, 3)
    assert np.abs(found[30, 10].astype(int) - RED).max() <= 12
    assert np.abs(found[30, 70].astype(int) - BLUE).max() <= 12


def test_unpacked_metadata_is_bounded() -> None:
    """A color profile of 64 MiB is dropped before it is unpacked."""
    bomb = zlib.compressobj(9)
    packed = b"".join(bomb.compress(bytes(2**22)) for _ in range(16)) + bomb.flush()
    stripped = strip_png(with_png_chunk(PNG, b"iCCP", b"x\0\0" + packed))
    assert stripped.icc is None
    assert len(stripped.data) <= len(PNG) + 12


def cut_jpegs() -> dict[str, bytes]:
    """Return JPEGs whose last pixels are missing, by name."""
    busy = Image.effect_noise((160, 120), 90).convert("RGB")
    plain = encoded(busy, "JPEG", quality=80)
    progressive = encoded(busy, "JPEG", quality=80, progressive=True)
    restarting = encoded(busy, "JPEG", quality=80, restart_marker_rows=1)
    first_scan = progressive.index(b"\xff\xda")
    last_scan = progressive.rindex(b"\xff\xda")
    last_restart = max(restarting.rfind(bytes((0xFF, marker))) for marker in range(0xD0, 0xD8))
    return {
        "half": plain[: len(plain) // 2],
        "half, then zeros": plain[: len(plain) // 2] + bytes(len(plain) // 2),
        "a few pixels short": plain[:-60],
        "progressive, cut in the last scan": progressive[:-60],
        "progressive, without the last scan": progressive[:last_scan],
        "progressive, only the first scan": progressive[: progressive.index(b"\xff\xda", first_scan + 1)],
        "cut at a restart marker": restarting[:last_restart],
        "half, then another image": plain[: len(plain) // 2] + plain,
    }


@pytest.mark.parametrize("name", cut_jpegs())
def test_a_jpeg_whose_pixels_are_missing_is_refused(name: str) -> None:
    with pytest.raises(MediaError, match="send the complete file") as error:
        normalized(cut_jpegs()[name])
    assert error.value.code == "image_truncated"


STORED: dict[str, Callable[[int], bytes]] = {
    "PNG": lambda number: encoded(two_colored(), exif=exif_with_orientation(number)),
    "JPEG": lambda number: encoded(two_colored(), "JPEG", quality=95, exif=exif_with_orientation(number)),
    "WebP": lambda number: encoded(two_colored(), "WEBP", exif=exif_with_orientation(number), **LOSSLESS),
    "TIFF": lambda number: encoded(two_colored(), "TIFF", tiffinfo={0x0112: number}),
    "HEIC": lambda number: encoded(two_colored(), "HEIF", quality=95, exif=exif_with_orientation(number)),
    "AVIF": lambda number: encoded(two_colored(), "AVIF", quality=95, exif=exif_with_orientation(number)),
}
RED_SIDES = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom"}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("orientation", RED_SIDES)
def test_every_format_is_shown_upright(kind: str, orientation: int) -> None:
    image = normalized(STORED[kind](orientation))
    assert (image.width, image.height) == ((80, 60) if orientation < 5 else (60, 80))
    found, (row, column) = pixels(image), (image.height // 2, image.width // 2)
    spot = {"left": (row, 9), "right": (row, -9), "top": (9, column), "bottom": (-9, column)}[RED_SIDES[orientation]]
    assert np.abs(found[spot].astype(int) - RED).max() <= 16


def raw_exif(*entries: bytes, order: str = "<") -> bytes:
    """Return EXIF data with entries as they are."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(f"{order}IH", 8, len(entries)) + b"".join(entries)


def entry(tag: int, kind: int, count: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")


ROTATED = {
    "a damaged entry before": raw_exif(entry(0x010F, 2, 2**31, b"\xff\xff\xff\x7f"), entry(0x0112, 3, 1, b"\6\0")),
    "an unknown type before": raw_exif(entry(0x010F, 99, 1, b""), entry(0x0112, 3, 1, b"\6\0")),
    "as a long": raw_exif(entry(0x0112, 4, 1, b"\6\0\0\0")),
    "as a byte": raw_exif(entry(0x0112, 1, 1, b"\6")),
    "big-endian": raw_exif(entry(0x0112, 3, 1, b"\0\6", ">"), order=">"),
    "cut off behind it": raw_exif(entry(0x0112, 3, 1, b"\6\0"), b"\x69\x87\4"),
}


@pytest.mark.parametrize("name", ROTATED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP"])
def test_the_orientation_is_read_from_damaged_exif(kind: str, name: str) -> None:
    exif = ROTATED[name]
    data = {
        "PNG": with_png_chunk(PNG, b"eXIf", exif[6:]),
        "JPEG": with_jpeg_segment(JPEG, 0xE1, exif),
        "WebP": with_webp_chunks(WEBP, after=riff_chunk(b"EXIF", exif)),
    }[kind]
    image = normalized(data)
    assert (image.width, image.height) == (60, 80)
    assert np.abs(pixels(image)[9, 30].astype(int) - RED).max() <= 16, "the left side is shown at the top"


@pytest.mark.parametrize("missing", [1, 30])
def test_the_orientation_is_read_from_a_webp_that_is_cut_off_behind_its_pixels(missing: int) -> None:
    exif = raw_exif(entry(0x0112, 3, 1, b"\6\0"), *[entry(0x010F, 2, 4, b"abc\0")] * 9)
    data = with_webp_chunks(WEBP, after=riff_chunk(b"EXIF", exif))
    assert normalized(data[:-missing]).height == 80


def test_an_orientation_outside_of_the_standard_changes_nothing() -> None:
    for value in (b"\0\0", b"\x09\0", b"\xff\xff"):
        image = normalized(with_jpeg_segment(JPEG, 0xE1, raw_exif(entry(0x0112, 3, 1, value))))
        assert (image.width, image.height) == (80, 60)


def test_the_orientation_in_old_forms_is_read() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    raw = raw_exif(entry(0x0112, 3, 1, b"\6\0"))
    hexadecimal = b"\nexif\n%8d\n%s\n" % (len(raw), raw.hex().encode())
    for data in (
        with_png_chunk(PNG, b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
        with_png_chunk(PNG, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexadecimal)),
        with_jpeg_segment(JPEG, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp),
        with_webp_chunks(WEBP, after=riff_chunk(b"XMP ", xmp)),
    ):
        assert normalized(data).height == 80


def plain_png(color_type: int, depth: int, pixel: bytes, transparent: bytes) -> bytes:
    """Build a PNG of one color, with the color that is transparent."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 60, depth, color_type, 0, 0, 0))
    rows = zlib.compress((b"\0" + pixel * 60) * 60)
    return PNG[:8] + header + png_chunk(b"tRNS", transparent) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("color_type", "depth", "pixel", "transparent", "other"),
    [
        (0, 8, b"\x12", b"\0\x12", b"\0\x13"),
        (0, 16, b"\x12\x34", b"\x12\x34", b"\x13\x34"),
        (2, 8, b"\x12\x34\x56", b"\0\x12\0\x34\0\x56", b"\0\x12\0\x34\0\x57"),
        (2, 16, b"\x12\x34\x56\x78\x9a\xbc", b"\x12\x34\x56\x78\x9a\xbc", b"\x12\x34\x56\x78\x9b\xbc"),
    ],
)
def test_a_transparent_color_is_shown_as_white(
    color_type: int, depth: int, pixel: bytes, transparent: bytes, other: bytes
) -> None:
    white, opaque = (
        pixels(normalized(plain_png(color_type, depth, pixel, color)))[30, 30] for color in (transparent, other)
    )
    assert white.min() == 255
    assert opaque[0] == 0x12
