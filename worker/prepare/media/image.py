"""Decodes a client's image and normalizes it: RGB, upright, within the family's bounds, without metadata.

Runs in the sandbox (worker/prepare/sandbox/process.py): no other code opens a client's file.
"""

import io
import warnings
from dataclasses import dataclass

import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from families import ImageBounds
from worker.prepare.media.errors import MediaError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
HIGH_DEPTH_GRAY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes with more than 8 bits per pixel."""

pillow_heif.register_heif_opener()
# The limit is a setting of ours with its own error. Pillow's would warn at half of it and refuse at another size.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class NormalizedImage:
    png: bytes
    width: int
    height: int
    source_width: int
    """Size of the client's image in pixels, upright."""
    source_height: int


def normalize_image(data: bytes, *, bounds: ImageBounds, max_pixels: int) -> NormalizedImage:
    """Decode, check and convert one image; of an animation, its first frame.

    Args:
        data: the file.
        bounds: the family's limits for the normalized image.
        max_pixels: largest width × height that is decoded.

    Raises:
        MediaError
    """
    with warnings.catch_warnings():
        # Pillow warns about irregular files; only whether the pixels can be decoded matters here.
        warnings.simplefilter("ignore")
        return fit_image(_to_upright_rgb(_decode(data, max_pixels)), bounds)


def fit_image(image: Image.Image, bounds: ImageBounds) -> NormalizedImage:
    """Resize an RGB image, if it is too large, to a size that the model accepts.

    Raises:
        MediaError
    """
    source = image.size
    try:
        size = bounds.fit(*source)
    except ValueError as error:
        raise MediaError("image_aspect", f"{error}; crop it.") from error
    if source[0] * source[1] > bounds.max_pixels:
        # With the size and the filter of the model's own processor, whose resize then changes nothing.
        image = image.resize(size, Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return NormalizedImage(encoded.getvalue(), *image.size, *source)


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise MediaError("image_unreadable", "the file is empty; send the complete file.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if kind := _detect_format(data):
            message = f"the header of the {kind} image is damaged or incomplete; send the complete file."
            raise MediaError("image_unreadable", message) from None
        message = f"the file is not an image in a supported format; send one of {', '.join(FORMATS)}."
        raise MediaError("image_unsupported", message) from None
    except Exception as error:  # a parser of a broken file may raise any exception
        message = "the image's header is damaged or incomplete; send the complete file."
        raise MediaError("image_unreadable", message) from error
    width, height = image.size
    if width * height > max_pixels:
        raise MediaError(
            "image_too_many_pixels",
            f"the image has {width}×{height} = {width * height} pixels; the limit is {max_pixels}. Scale it down.",
        )
    try:
        image.load()
    except Exception as error:  # a decoder of a broken file may raise any exception
        code = "image_truncated" if "truncated" in str(error) else "image_unreadable"
        message = f"the image's data is damaged or incomplete ({error}); send the complete file."
        raise MediaError(code, message) from error
    return image


def _detect_format(data: bytes) -> str | None:
    """Return the format that the file's first bytes announce, whether or not the rest can be read."""
    for name in FORMATS:
        _, accepts = Image.OPEN[name]
        if accepts and accepts(data[:16]):
            return name
    return None


def _to_upright_rgb(image: Image.Image) -> Image.Image:
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - broken EXIF data does not affect the pixels
        image = image.copy()
    if image.mode in HIGH_DEPTH_GRAY:
        image = _to_eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """Scale gray values to 8 bits. Pillow clips them at 255: a scan turns white, and values from 0 to 1 turn black."""
    if image.mode.startswith("I;16"):
        black, scale = 0.0, 1 / 256
    else:
        black, scale = _gray_range(*image.getextrema())
    return image.convert("F").point(lambda value: value * scale - black * scale).convert("L")


def _gray_range(lowest: float, highest: float) -> tuple[float, float]:
    """Guess the value of black, and the factor to 8 bits, of 32-bit gray values: the format defines no white."""
    if lowest < 0 or highest > 65_535:
        return lowest, 255 / (highest - lowest or 1)
    if highest > 255:
        return 0.0, 1 / 256
    return 0.0, 1.0 if highest > 1 else 255.0
