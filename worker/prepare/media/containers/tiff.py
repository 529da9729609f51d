"""Says why a TIFF cannot be decoded: the format allows any number and type of channels, and camera raw files use it."""

import io

from PIL import Image, TiffImagePlugin

from worker.prepare.media.errors import MediaError

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
SAMPLES, SUB_FILES, SAMPLE_FORMAT, DNG_VERSION = 277, 330, 339, 50_706
REDUCED = 1
"""Bit of the subfile type: a preview of another image in the file."""
SAMPLE_NAMES = {1: "unsigned integer", 2: "signed integer", 3: "floating-point", 5: "complex", 6: "complex"}
RAW_PHOTOMETRICS = (32_803, 34_892)
"""Sensor data: color filter array, linear raw."""
HEADER_BYTES = 8
SEND_PLAIN_TIFF = "send a TIFF with 8 or 16 bits per channel, gray or RGB, or a PNG"


def check_tiff(image: Image.Image) -> None:
    """Refuse a camera raw file, whose first image is only a small preview.

    Raises:
        MediaError
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image.tag_v2):
        raise _camera_raw()


def tiff_error(data: bytes) -> MediaError | None:
    """Return the error for a TIFF that Pillow does not open. None: its header is damaged."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:HEADER_BYTES])
        start = tags.next
        file = io.BytesIO(data)
        file.seek(start)
        tags.load(file)
        if tags.next == start or WIDTH not in tags or HEIGHT not in tags:
            return None  # Pillow sets ``next`` to the next directory when it has read the whole of this one
        if tags.get(PHOTOMETRIC) in RAW_PHOTOMETRICS or DNG_VERSION in tags or _is_preview(tags):
            return _camera_raw()
        bits = _first(tags.get(BITS, 1))
        samples = tags.get(SAMPLES, 1)
        kind = SAMPLE_NAMES.get(_first(tags.get(SAMPLE_FORMAT, 1)), "unknown")
        compression = tags.get(COMPRESSION, 1)
    except Exception:  # noqa: BLE001 - a parser of a broken file may raise any exception
        return None
    message = (
        f"it is a TIFF with {samples} channel(s) of {bits}-bit {kind} samples (photometric interpretation "
        f"{tags.get(PHOTOMETRIC)}, compression {compression}), which is not supported; {SEND_PLAIN_TIFF}."
    )
    return MediaError("image_unsupported", message)


def _is_preview(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    """Whether the first image of a TIFF is a preview of one that only camera raw files have."""
    return bool(int(tags.get(SUBFILE_TYPE, 0)) & REDUCED and (SUB_FILES in tags or DNG_VERSION in tags))


def _first(value: object) -> int:
    return int(value[0]) if isinstance(value, tuple) else int(value)  # type: ignore[call-overload]


def _camera_raw() -> MediaError:
    message = "it is a camera raw file, which is not supported; send the photo as JPEG, HEIC or TIFF."
    return MediaError("image_unsupported", message)
