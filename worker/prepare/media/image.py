"""A client's picture, checked and made plain: RGB, upright, within the family's bounds, without metadata.

Runs in the sandbox (worker/prepare/sandbox/process.py): nothing else opens a client's file.
"""

import io
import warnings
from dataclasses import dataclass

import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from families import ImageBounds
from worker.prepare.media.errors import MediaError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")

pillow_heif.register_heif_opener()
# The limit is ours, by the settings, and says so; Pillow's would warn of half of it and refuse another one.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class NormalizedImage:
    png: bytes
    width: int
    height: int
    source_width: int
    """Of the client's picture, upright."""
    source_height: int


def normalize_image(data: bytes, *, bounds: ImageBounds, max_pixels: int) -> NormalizedImage:
    """Decode, check and convert one picture; of an animation, its first frame.

    Raises:
        MediaError
    """
    with warnings.catch_warnings():
        # Pillow warns of oddities in files; whether the pixels are there is all that counts here.
        warnings.simplefilter("ignore")
        return fitted(_upright_rgb(_open(data, max_pixels)), bounds)


def fitted(picture: Image.Image, bounds: ImageBounds) -> NormalizedImage:
    """A plain RGB picture at a size that the model takes.

    Raises:
        MediaError
    """
    source = picture.size
    try:
        size = bounds.fit(*source)
    except ValueError as error:
        raise MediaError("image_aspect", f"{error}; crop it.") from error
    if source[0] * source[1] > bounds.max_pixels:
        # To the very size and with the filter of the model's own processor, whose resize then changes nothing.
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=1)
    return NormalizedImage(encoded.getvalue(), *picture.size, *source)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise MediaError("image_unreadable", "the file is empty.")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if kind := _kind(data):
            raise MediaError("image_unreadable", f"the {kind} picture's header is broken or cut off.") from None
        raise MediaError(
            "image_unsupported", f"the file is not a picture of a known kind; send one of {', '.join(FORMATS)}."
        ) from None
    except Exception as error:  # parsers of broken files raise anything
        raise MediaError("image_unreadable", "the picture's header is broken or cut off.") from error
    width, height = picture.size
    if width * height > max_pixels:
        raise MediaError(
            "image_too_many_pixels",
            f"the picture has {width}×{height} = {width * height} pixels; the limit is {max_pixels}. Scale it down.",
        )
    try:
        picture.load()
    except Exception as error:  # decoders of broken files raise anything
        code = "image_truncated" if "truncated" in str(error) else "image_unreadable"
        raise MediaError(code, f"the picture's data is broken or incomplete ({error}).") from error
    return picture


def _kind(data: bytes) -> str | None:
    """What its first bytes promise, whatever becomes of the rest."""
    for name in FORMATS:
        _, accepts = Image.OPEN[name]
        if accepts and accepts(data[:16]):
            return name
    return None


def _upright_rgb(picture: Image.Image) -> Image.Image:
    try:
        picture = ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - broken EXIF data says nothing about the pixels
        picture = picture.copy()
    if picture.mode in DEEP_GREY:
        picture = _eight_bit(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Pillow cuts deeper greys off at 255: a scan turns white, and one in numbers from 0 to 1 black."""
    if picture.mode.startswith("I;16"):
        low, scale = 0.0, 1 / 256
    else:
        low, scale = _range(*picture.getextrema())
    return picture.convert("F").point(lambda value: value * scale - low * scale).convert("L")


def _range(lowest: float, highest: float) -> tuple[float, float]:
    """What is black, and the factor, of 32-bit greys, which do not say what is white."""
    if lowest < 0 or highest > 65_535:
        return lowest, 255 / (highest - lowest or 1)
    if highest > 255:
        return 0.0, 1 / 256
    return 0.0, 1.0 if highest > 1 else 255.0
