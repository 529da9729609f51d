"""Images of many kinds: each is normalized or refused with an error code."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from families import FAMILIES
from worker.prepare.media.errors import MediaError
from worker.prepare.media.images.image import NormalizedImage, normalize_image

BOUNDS = FAMILIES["pocket"].images
RED, BLUE = (220, 20, 30), (20, 30, 220)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def normalized(data: bytes, *, max_pixels: int = 10**8) -> NormalizedImage:
    return normalize_image(data, bounds=BOUNDS, max_pixels=max_pixels)


def pixels(image: NormalizedImage) -> np.ndarray:
    opened = Image.open(io.BytesIO(image.png))
    assert opened.mode == "RGB"
    assert opened.info.get("exif") is None
    return np.asarray(opened)


def two_colored(size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Left red, right blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"progressive": True}, 12),
        ("GIF", {}, 4),
        ("HEIF", {"quality": 95}, 12),
        ("AVIF", {"quality": 95}, 12),
    ],
)
def test_every_format_is_decoded(kind: str, options: dict[str, Any], tolerance: int) -> None:
    found = pixels(normalized(encoded(two_colored(), kind, **options)))
    assert found.shape == (60, 80, 3)
    assert np.abs(found[30, 10].astype(int) - RED).max() <= tolerance
    assert np.abs(found[30, 70].astype(int) - BLUE).max() <= tolerance


def ycck() -> bytes:
    """Build a JPEG as Photoshop saves it for print: inverted CMYK, encoded as YCCK, which Pillow cannot write."""
    luma, *chroma = Image.new("RGB", (60, 60), (55, 225, 225)).convert("YCbCr").split()
    inverted = [band.point(lambda value: 255 - value) for band in (luma, *chroma)]
    data = encoded(Image.merge("CMYK", (*inverted, Image.new("L", (60, 60), 40))), "JPEG", quality=95)
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def gray(value: float, kind: Any) -> bytes:
    return encoded(Image.fromarray(np.full((60, 60), value, kind)), "TIFF")


CONVERSIONS: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "CMYK": (lambda: encoded(Image.new("CMYK", (60, 60), (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0)),
    "YCCK": (ycck, (168, 25, 25)),
    "gray": (lambda: encoded(Image.new("L", (60, 60), 77)), (77, 77, 77)),
    "gray and alpha": (lambda: encoded(Image.new("LA", (60, 60), (0, 0))), (255, 255, 255)),
    "one bit": (lambda: encoded(Image.new("1", (60, 60), 1)), (255, 255, 255)),
    "palette": (lambda: encoded(Image.new("RGB", (60, 60), RED).quantize(4)), RED),
    "transparent": (lambda: encoded(Image.new("RGBA", (60, 60), (0, 0, 0, 0))), (255, 255, 255)),
    "half transparent": (lambda: encoded(Image.new("RGBA", (60, 60), (0, 0, 0, 128))), (127, 127, 127)),
    "16 bits": (lambda: encoded(Image.fromarray(np.full((60, 60), 32_896, np.uint16))), (128, 128, 128)),
    "16 bits, big-endian": (
        lambda: encoded(Image.frombytes("I;16B", (60, 60), b"\x80\x80" * 3_600), "TIFF"),
        (128, 128, 128),
    ),
    "float": (lambda: gray(90.0, np.float32), (90, 90, 90)),
    "float from 0 to 1": (lambda: gray(0.5, np.float32), (127, 127, 127)),
    "float, not a number": (lambda: gray(np.nan, np.float32), (0, 0, 0)),
    "32 bits, used as 8": (lambda: gray(90, np.int32), (90, 90, 90)),
    "32 bits, used as 16": (lambda: gray(32_896, np.int32), (128, 128, 128)),
    "32 bits, below zero": (lambda: gray(-7, np.int32), (0, 0, 0)),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_every_mode_is_converted_to_the_visible_colors(name: str) -> None:
    make, expected = CONVERSIONS[name]
    assert np.abs(pixels(normalized(make()))[30, 30].astype(int) - expected).max() <= 3


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.new("RGB", (60, 60), color) for color in (RED, BLUE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(pixels(normalized(data))[30, 30].astype(int) - RED).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = two_colored()
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = normalized(encoded(stored, "PNG", exif=exif))
    assert (image.width, image.height) == (image.source_width, image.source_height) == (80, 60)
    assert np.array_equal(pixels(image), np.asarray(upright))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 255, (height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(60, 60), (30, 200), (336, 336), (900, 700), (2_000, 60)])
def test_normalizing_does_not_change_what_the_model_sees(size: tuple[int, int]) -> None:
    processor = Glm4vImageProcessorPil(
        size={"shortest_edge": 2 * BOUNDS.min_pixels, "longest_edge": 2 * BOUNDS.max_pixels}
    )
    source = noise(*size)
    image = normalized(encoded(source))
    assert (image.source_width, image.source_height) == size
    ours = processor(images=[Image.open(io.BytesIO(image.png))], return_tensors="np")
    theirs = processor(images=[source], return_tensors="np")
    assert np.array_equal(ours["image_grid_thw"], theirs["image_grid_thw"])
    assert np.abs(ours["pixel_values"] - theirs["pixel_values"]).max() < 1e-6


def test_an_image_over_the_bounds_is_stored_at_the_models_size() -> None:
    image = normalized(encoded(noise(900, 700)))
    assert (image.width, image.height) == BOUNDS.fit(900, 700)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """Build a small file that declares 50,000 × 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1_000)))


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "image_unreadable"),
    "text": (b"not a picture at all", "image_unsupported"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_unsupported"),
    "html": (b"<!doctype html><title>404</title>", "image_unsupported"),
    "pdf": (b"%PDF-1.7\n%", "image_unsupported"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image_unsupported"),
    "truncated png": (encoded(noise(200, 200))[:5_000], "image_truncated"),
    "truncated jpeg": (encoded(noise(200, 200), "JPEG")[:5_000], "image_truncated"),
    "truncated heic": (encoded(noise(200, 200), "HEIF")[:5_000], "image_unreadable"),
    "truncated webp": (encoded(noise(200, 200), "WEBP")[:5_000], "image_unreadable"),
    "truncated tiff": (encoded(noise(200, 200), "TIFF", compression="jpeg")[:500], "image_unreadable"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "image_unreadable"),
    "bomb": (bomb(), "image_too_many_pixels"),
    "a line": (encoded(Image.new("RGB", (2_000, 2))), "image_aspect"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_an_image_is_refused_with_a_code(name: str) -> None:
    data, code = REFUSED[name]
    with pytest.raises(MediaError) as error:
        normalized(data)
    assert error.value.code == code, error.value.message


def test_the_message_contains_the_limit_and_the_size_of_the_image() -> None:
    with pytest.raises(MediaError, match=r"50000×50000 = 2500000000 pixels; the limit is 100000000"):
        normalized(bomb())
    with pytest.raises(MediaError, match=r"\(5000×20\)"):
        normalized(encoded(Image.new("RGB", (5_000, 20))))
    with pytest.raises(MediaError, match="100×100 = 10000 pixels; the limit is 9999"):
        normalized(encoded(noise(100, 100)), max_pixels=9_999)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_image_raises_a_media_error_or_is_decoded(seed: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(encoded(noise(64, 64), ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"][seed % 6]))
    for position in random.integers(0, len(data), 12):
        data[position] = random.integers(0, 256)
    with suppress(MediaError):
        normalized(bytes(data))
