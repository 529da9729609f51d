"""A file of an unsupported kind is refused with the name of its kind and the kinds that are accepted."""

import gzip
import io
import struct
import zipfile

import pytest

from testing.inputs.documents import pdf
from testing.inputs.images import encoded, png_chunk, two_colored, with_jpeg_segment
from tests.unit.media.test_image import normalized
from worker.prepare.media.errors import MediaError

JPEG = encoded(two_colored(), "JPEG")


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        opened.writestr("word/document.xml", "<x/>")
    return stream.getvalue()


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """Build a little-endian TIFF of tags only: number, type, count and value of each."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + rows + bytes(500)


SIZE = ((256, 4, 1, 20), (257, 4, 1, 10))
KINDS = {
    "an SVG drawing": b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a web page (HTML)": b"\n<!DOCTYPE html><html><title>Log in</title></html>",
    "a JPEG XL image": b"\xff\x0a" + bytes(60),
    "a JPEG 2000 image": encoded(two_colored(), "JPEG2000"),
    "a Photoshop file": b"8BPS\0\1" + bytes(200),
    "a Windows icon": encoded(two_colored(), "ICO"),
    "a macOS icon": b"icns" + bytes(60),
    "a Netpbm image": encoded(two_colored(), "PPM"),
    "a TGA image": encoded(two_colored(), "TGA"),
    "an OpenEXR image": bytes.fromhex("762f3101") + bytes(60),
    "a DICOM image": bytes(128) + b"DICM" + bytes(60),
    "a PDF document": pdf(1),
    "a PostScript file": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "an MPEG-4 video": b"\0\0\0\x18ftypisom" + bytes(60),
    "a Matroska or WebM video": b"\x1a\x45\xdf\xa3" + bytes(60),
    "a ZIP archive or an Office document": archive(),
    "a gzip archive": gzip.compress(b"x"),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a JSON file": b'{"error": "not found"}',
    "a text file": b"not a picture at all",
    "of an unknown kind": bytes(range(200, 256)) * 3,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_names_the_kind_and_the_accepted_ones(kind: str) -> None:
    with pytest.raises(MediaError, match="send PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF") as error:
        normalized(KINDS[kind])
    assert error.value.code == "image_unsupported"
    assert kind in error.value.message


def frame(marker: int, bits: int = 8) -> bytes:
    """Return a JPEG whose frame header is of another kind."""
    return (
        b"\xff\xd8"
        + with_jpeg_segment(b"\xff\xd8", marker, struct.pack(">BHHB", bits, 9, 9, 1) + b"\1\x11\0")[2:]
        + b"\xff\xda\0\x08\1\1\0\0\x3f\0"
        + bytes(9)
    )


SPECIAL = {
    "lossless JPEG": frame(0xC3),
    "12 bits per channel": frame(0xC1, bits=12),
    "JPEG-LS": frame(0xF7),
    "CgBI": b"\x89PNG\r\n\x1a\n" + png_chunk(b"CgBI", bytes(4)) + encoded(two_colored())[8:],
    "camera raw": tiff(*SIZE, (254, 4, 1, 1), (330, 4, 1, 300), (262, 3, 1, 2), (258, 3, 1, 8), (277, 3, 1, 1)),
    "a camera raw": tiff(*SIZE, (262, 3, 1, 32_803), (50_706, 1, 4, 1)),
    "2 channel(s) of 64-bit floating-point": tiff(*SIZE, (277, 3, 1, 2), (258, 3, 1, 64), (339, 3, 1, 3)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_the_message_names_a_variant_that_is_not_supported(name: str) -> None:
    with pytest.raises(MediaError, match="send") as error:
        normalized(SPECIAL[name])
    assert error.value.code == "image_unsupported", error.value.message
    assert name in error.value.message


def test_a_damaged_tiff_is_not_called_unsupported() -> None:
    whole = encoded(two_colored(), "TIFF")
    for length in (8, 40, 60):
        with pytest.raises(MediaError) as error:
            normalized(whole[:length])
        assert error.value.code == "image_unreadable"
