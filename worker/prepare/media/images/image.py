"""Decodes a client's image and normalizes it: sRGB, upright, within the family's bounds, without metadata.

Runs in the sandbox (worker/prepare/sandbox/process.py): no other code opens a client's file.
"""

import io
import warnings
from dataclasses import dataclass

import pillow_heif
from PIL import AvifImagePlugin, Image, ImageChops, UnidentifiedImageError

from families import ImageBounds
from worker.prepare.media.containers.gif import SIGNATURES as GIF_SIGNATURES
from worker.prepare.media.containers.gif import strip_gif
from worker.prepare.media.containers.iso_image import read_coding
from worker.prepare.media.containers.jpeg import SIGNATURE as JPEG_SIGNATURE
from worker.prepare.media.containers.jpeg import strip_jpeg, with_fills
from worker.prepare.media.containers.png import SIGNATURE as PNG_SIGNATURE
from worker.prepare.media.containers.png import strip_png
from worker.prepare.media.containers.stripped import StrippedFile
from worker.prepare.media.containers.tiff import check_tiff, tiff_error
from worker.prepare.media.containers.webp import strip_webp
from worker.prepare.media.errors import MediaError
from worker.prepare.media.file_kind import HEAD_BYTES, describe_file
from worker.prepare.media.images.color_coding import ColorCoding, convert_coded_colors
from worker.prepare.media.images.color_profile import apply_gamma, convert_to_srgb
from worker.prepare.media.images.orientation import ORIENTATION_TAG, exif_orientation, transpose, xmp_orientation

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")
"""Pillow's names."""
SEND_SUPPORTED = "send PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
AVIF_BRANDS = (b"avif", b"avis")
HIGH_DEPTH_GRAY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes with more than 8 bits per pixel."""

pillow_heif.register_heif_opener()
# The limit is a setting of ours with its own error. Pillow's would warn at half of it and refuse at another size.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # before the sandbox closes: Pillow imports its decoders when it first needs them
assert AvifImagePlugin.SUPPORTED


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
    if not data:
        raise MediaError("image_unreadable", "the file is empty; send the complete file.")
    with warnings.catch_warnings():
        # Pillow warns about irregular files; only whether the pixels can be decoded matters here.
        warnings.simplefilter("ignore")
        stripped = _strip(data)
        image = _decode(stripped.data, max_pixels)
        if stripped.may_be_truncated:
            _check_last_rows(image, stripped.data, max_pixels)
        icc = stripped.icc or image.info.get("icc_profile")
        upright = transpose(image, _orientation(stripped, image))
        opaque = apply_gamma(_to_eight_bit_opaque(upright), None if icc else stripped.gamma)
        return fit_image(opaque, bounds, icc, None if icc else stripped.coding)


def fit_image(
    image: Image.Image, bounds: ImageBounds, icc: bytes | None = None, coding: ColorCoding | None = None
) -> NormalizedImage:
    """Resize an image, if it is too large, to a size that the model accepts, and convert it to sRGB.

    Args:
        image: of mode L, RGB or CMYK.
        bounds: the family's limits.
        icc: color profile.
        coding: of the colors, if there is no profile.

    Raises:
        MediaError
    """
    source = image.size
    try:
        size = bounds.fit(*source)
    except ValueError as error:
        raise MediaError("image_aspect", f"{error}; crop it.") from error
    if not icc:
        image = image.convert("RGB")
    if source[0] * source[1] > bounds.max_pixels:
        # With the size and the filter of the model's own processor, whose resize then changes nothing.
        image = image.resize(size, Image.Resampling.BICUBIC)
    # After the resize: it takes as long as decoding.
    image = convert_coded_colors(convert_to_srgb(image, icc), coding).convert("RGB")
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1, icc_profile=None)
    return NormalizedImage(encoded.getvalue(), *image.size, *source)


def _strip(data: bytes) -> StrippedFile:
    """Remove the metadata of the formats whose decoders refuse intact pixels because of it."""
    if data.startswith(PNG_SIGNATURE):
        return strip_png(data)
    if data.startswith(JPEG_SIGNATURE):
        return strip_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return strip_webp(data)
    if data.startswith(GIF_SIGNATURES):
        return strip_gif(data)
    if data[4:8] == b"ftyp" and (coding := read_coding(data)):
        return StrippedFile(data, gamma=coding.gamma, coding=coding)
    return StrippedFile(data)


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_candidate_formats(data))
        check_tiff(image)
    except MediaError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
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


def _candidate_formats(data: bytes) -> tuple[str, ...]:
    """Return the formats to try. HEIC and AVIF share a container, whose list of brands tells them apart."""
    if data[4:8] == b"ftyp":
        return ("AVIF",) if any(brand in data[8:64] for brand in AVIF_BRANDS) else ("HEIF",)
    return FORMATS


def _unidentified(data: bytes) -> MediaError:
    """Return the error for a file that no decoder accepts."""
    name = _detect_format(data)
    if name == "TIFF" and (error := tiff_error(data)):
        return error
    kind = describe_file(data[:HEAD_BYTES])
    if name:
        message = f"the header of the {name} image is damaged or incomplete; send the complete file."
        return MediaError("image_unreadable", message)
    message = f"the file is {kind or 'of an unknown kind'}, not a supported image; {SEND_SUPPORTED}."
    return MediaError("image_unsupported", message)


def _detect_format(data: bytes) -> str | None:
    """Return the format that the file's first bytes announce, whether or not the rest can be read."""
    for name in _candidate_formats(data):
        _, accepts = Image.OPEN[name]
        if accepts and accepts(data[:16]):
            return name
    return None


def _check_last_rows(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Refuse a JPEG without an end mark if pixels are missing too: the decoder fills them with gray."""
    is_complete = any(_is_same(image, filled, max_pixels) for filled in with_fills(data))
    if not is_complete:
        message = "the image is truncated: the file ends before its last pixels; send the complete file."
        raise MediaError("image_truncated", message)


def _is_same(image: Image.Image, data: bytes, max_pixels: int) -> bool:
    try:
        difference = ImageChops.difference(image, _decode(data, max_pixels))
    except MediaError:
        return False
    return difference.getbbox(alpha_only=False) is None


def _orientation(stripped: StrippedFile, image: Image.Image) -> int:
    """Return the EXIF orientation of an image."""
    if stripped.exif or stripped.xmp:
        return exif_orientation(stripped.exif) or xmp_orientation(stripped.xmp)
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF data does not affect the pixels
        return exif_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0")) or 1
    return value if isinstance(value, int) else 1


def _to_eight_bit_opaque(image: Image.Image) -> Image.Image:
    """Return an image of mode L, RGB or CMYK, on white where it is transparent."""
    if image.mode in HIGH_DEPTH_GRAY:
        transparent = image.info.get("transparency")
        image = _to_eight_bit(image)
        if isinstance(transparent, int):
            image.info["transparency"] = transparent >> 8
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
        opaque = image.convert(image.mode.removesuffix("A"))
        return Image.composite(opaque, Image.new(opaque.mode, image.size, "white"), image.getchannel("A"))
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


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
