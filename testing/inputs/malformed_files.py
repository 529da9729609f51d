"""Unusual and malformed files, each with its kind and the expected end of its job."""

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from testing.inputs.documents import deck, pdf, scanned_pdf, zip_bomb
from testing.inputs.videos import clip

pillow_heif.register_heif_opener()

SampleFile = tuple[str, bytes, str]
"""Kind of media, content, and how the job ends: ``completed`` or an error code."""
COMPLETED = "completed"


def malformed_files(folder: Path, *, has_office: bool) -> dict[str, SampleFile]:
    """Return files by name.

    Args:
        folder: for temporary files.
        has_office: whether to include files that LibreOffice converts.
    """
    return {**_pictures(), **_documents(), **(_slides() if has_office else {}), **_videos(folder)}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(width: int, height: int, data: bytes) -> bytes:
    """Return an RGB PNG whose header claims the given size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def _pictures() -> dict[str, SampleFile]:
    random = np.random.default_rng(5)
    picture = Image.fromarray(random.integers(0, 255, (90, 120, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray((np.arange(90 * 120).reshape(90, 120) * 6).astype(np.uint16))
    jpeg = encoded(picture, "JPEG", exif=turned)

    def several(kind: str) -> bytes:
        more = [picture.rotate(90 * number) for number in (1, 2, 3)]
        return encoded(picture, kind, save_all=True, append_images=more)

    good = {
        "phone.jpg": jpeg,
        "phone.heic": encoded(picture, "HEIF", exif=turned.tobytes()),
        "burst.mpo": several("MPO"),
        "print.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "scan.png": encoded(deep, "PNG"),
        "scan.tif": encoded(deep, "TIFF"),
        "fax.tif": encoded(picture.convert("1"), "TIFF", compression="group4"),
        "pages.tif": several("TIFF"),
        "transparent.png": encoded(picture.convert("P"), "PNG", transparency=bytes(range(256))),
        "moving.gif": several("GIF"),
        "moving.webp": several("WEBP"),
        "moving.png": several("PNG"),
        "old.bmp": encoded(picture.convert("P"), "BMP"),
        "dot.png": encoded(picture.resize((1, 1)), "PNG"),
        "line.png": encoded(picture.resize((1, 150)), "PNG"),
        "picture and document.jpg": jpeg + pdf(1),
        "picture and archive.gif": encoded(picture, "GIF") + zip_bomb()[:2_000],
    }
    bad = {
        "empty.png": (b"", "image_unreadable"),
        "page.png": (b"<!doctype html><title>Not found</title>", "image_unsupported"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_unsupported"),
        "drawing.svgz": (gzip.compress(b"<svg/>" + bytes(20_000_000)), "image_unsupported"),
        "document.jpg": (pdf(1), "image_unsupported"),
        "cut.jpg": (jpeg[:-500], "image_truncated"),
        "cut.heic": (good["phone.heic"][:800], "image_unreadable"),
        "bomb.png": (png(60_000, 60_000, bytes(1_000)), "image_too_many_pixels"),
        "strip.png": (encoded(Image.new("RGB", (3_000, 3)), "PNG"), "image_aspect"),
    }
    return {
        **{name: ("image", content, COMPLETED) for name, content in good.items()},
        **{name: ("image", content, code) for name, (content, code) in bad.items()},
    }


def _documents() -> dict[str, SampleFile]:
    wide = b"/MediaBox [0 0 9000000 9000000]"
    found = {
        "scanned.pdf": (scanned_pdf(1), COMPLETED),
        "lost index.pdf": (pdf(2).replace(b"startxref\n", b"startxref\n9"), COMPLETED),
        "after blank lines.pdf": (b"\n" * 500 + pdf(1), COMPLETED),
        "turned.pdf": (pdf(1).replace(b"/Type /Page ", b"/Type /Page /Rotate 270 "), COMPLETED),
        "vast.pdf": (pdf(1).replace(b"/MediaBox [0 0 300 400]", wide), COMPLETED),
        "locked.pdf": (pdf(1, encrypt=True), "document_encrypted"),
        "long.pdf": (pdf(10_000, color=False), "document_too_long"),
        "no pages.pdf": (pdf(0), "document_empty"),
        "cut.pdf": (pdf(3)[:300], "document_unreadable"),
        "letter.pdf": (b"Dear Sir,", "document_unsupported"),
        "empty.pdf": (b"", "document_unreadable"),
        "bomb.pptx": (zip_bomb(), "document_too_large"),
        "locked.odp": (deck(encrypt=True), "document_encrypted"),
        "cut.pptx": (deck()[:500], "document_unreadable"),
    }
    return {name: ("document", content, end) for name, (content, end) in found.items()}


def _slides() -> dict[str, SampleFile]:
    return {
        "notes.odp": ("document", deck(2), COMPLETED),
        "link.odp": ("document", deck(1, linked_picture="file:///etc/passwd"), COMPLETED),
    }


def _videos(folder: Path) -> dict[str, SampleFile]:
    steps = [0, 40, 80, 900, 1_000, 2_500, 2_540, 3_900]
    film = clip(folder / "film.mp4").read_bytes()
    found = {
        "unsteady.mp4": (clip(folder / "a.mp4", len(steps), shown_ms=steps).read_bytes(), COMPLETED),
        "turned.mp4": (clip(folder / "b.mp4", rotation=90).read_bytes(), COMPLETED),
        "live.webm": (clip(folder / "c.webm", codec="libvpx", is_live=True).read_bytes(), COMPLETED),
        "film.avi": (clip(folder / "d.avi", codec="mpeg4").read_bytes(), COMPLETED),
        "single.mkv": (clip(folder / "e.mkv", 1).read_bytes(), COMPLETED),
        "cut.mp4": (film[: len(film) // 2], "video_truncated"),
        "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "video_unsupported"),
        "words.mkv": (b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n", "video_unsupported"),
        "empty.webm": (b"", "video_unsupported"),
    }
    return {name: ("video", content, end) for name, (content, end) in found.items()}
