"""Converts images with a color profile to sRGB, the color space of the model's training images."""

import io

from PIL import Image, ImageCms

MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for the color space that a profile describes."""
INVISIBLE_DIFFERENCE = 2
"""Of 255. Profiles that differ less from sRGB are one of its many versions; then the pixels remain as they are."""
PROBE_LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05
"""sRGB's curve is close to this power. libpng, too, ignores a difference of 5 %."""
SRGB = ImageCms.createProfile("sRGB")


def convert_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Return an image in sRGB; the same one if it has no profile, is in sRGB already, or its profile is unusable.

    Args:
        image: of mode L, RGB or CMYK.
        icc: color profile.

    Returns:
        The image; its mode is RGB if it was converted.
    """
    if not icc:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = MODES.get(profile.profile.xcolor_space)
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")  # scanners and cameras give gray images their RGB profile
        if mode != image.mode:
            return image  # the profile of an earlier version of the image
        transform = ImageCms.buildTransform(profile, SRGB, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
        if mode != "CMYK" and _is_identity(transform, mode):
            return image
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # browsers and viewers ignore a damaged profile, too
    return converted or image


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform to sRGB leaves a sample of all colors nearly as they are."""
    if mode == "L":
        colors = bytes(range(256))
        before = Image.frombytes("L", (256, 1), colors).convert("RGB")
        after = ImageCms.applyTransform(Image.frombytes("L", (256, 1), colors), transform)
    else:
        levels = PROBE_LEVELS
        colors = bytes(value for red in levels for green in levels for blue in levels for value in (red, green, blue))
        before = Image.frombytes("RGB", (len(colors) // 3, 1), colors)
        after = ImageCms.applyTransform(before, transform)
    if after is None:
        return True
    pairs = zip(before.tobytes(), after.tobytes(), strict=True)
    return max(abs(first - second) for first, second in pairs) <= INVISIBLE_DIFFERENCE


def apply_gamma(image: Image.Image, gamma: float | None) -> Image.Image:
    """Return an image with the tone curve of sRGB.

    Args:
        image: of mode L or RGB.
        gamma: a stored value is the light to the power of this, both from 0 to 1. None: sRGB's curve.
    """
    if gamma is None or abs(gamma / SRGB_GAMMA - 1) <= GAMMA_TOLERANCE:
        return image
    table = [round(255 * _srgb_curve((value / 255) ** (1 / gamma))) for value in range(256)]
    return image.point(table * len(image.getbands()))


def _srgb_curve(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else float(1.055 * light ** (1 / 2.4) - 0.055)
