"""Images in other color spaces are shown in sRGB."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from testing.inputs.images import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    Primaries,
    cmyk_profile,
    encoded,
    gray_profile,
    png_chunk,
    rgb_profile,
    with_png_chunk,
)
from tests.unit.media.test_image import noise, normalized, pixels

SEEN = (200, 60, 60)
SRGB = ImageCms.createProfile("sRGB")
WIDE: dict[str, Primaries] = {"Display P3": DISPLAY_P3, "Adobe RGB": ADOBE_RGB, "ProPhoto": PROPHOTO}


def stored_in(profile: bytes, image: Image.Image) -> Image.Image:
    """Return an sRGB image in the color space of a profile."""
    converted = ImageCms.profileToProfile(image, SRGB, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    assert converted is not None
    return converted


def color_of(data: bytes) -> Any:
    return pixels(normalized(data))[30, 30].astype(int)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("HEIF", {"quality": 95}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_a_wide_color_space_is_converted(kind: str, options: dict[str, Any], name: str) -> None:
    profile = rgb_profile(WIDE[name])
    stored = stored_in(profile, Image.new("RGB", (60, 60), SEEN))
    assert max(abs(first - second) for first, second in zip(stored.getpixel((0, 0)), SEEN, strict=True)) > 8  # type: ignore[arg-type]
    assert np.abs(color_of(encoded(stored, kind, icc_profile=profile, **options)) - SEEN).max() <= 6


def test_a_large_image_is_converted_too() -> None:
    profile = rgb_profile(PROPHOTO)
    stored = stored_in(profile, Image.new("RGB", (900, 700), SEEN))
    assert np.abs(color_of(encoded(stored, icc_profile=profile)) - SEEN).max() <= 3


@pytest.mark.parametrize("mode", ["P", "RGBA", "1", "L", "LA"])
def test_a_profile_applies_to_every_mode(mode: str) -> None:
    profile = rgb_profile(PROPHOTO)
    seen = SEEN if mode in ("P", "RGBA") else (255, 255, 255)
    stored = stored_in(profile, Image.new("RGB", (60, 60), seen))
    stored = stored.quantize(4) if mode == "P" else stored.convert(mode)
    assert np.abs(color_of(encoded(stored, icc_profile=profile)) - seen).max() <= 4


def test_transparent_pixels_remain_white() -> None:
    data = encoded(Image.new("RGBA", (60, 60), (0, 0, 0, 0)), icc_profile=rgb_profile(ADOBE_RGB))
    assert np.abs(color_of(data) - 255).max() <= 1


def test_a_gray_profile_is_applied() -> None:
    """Half of the light is 188 in sRGB."""
    linear = encoded(Image.new("L", (60, 60), 128), icc_profile=gray_profile(1.0))
    assert np.abs(color_of(linear) - 188).max() <= 2


def test_a_press_profile_is_applied() -> None:
    red = Image.new("CMYK", (60, 60), (0, 255, 255, 0))
    black = Image.new("CMYK", (60, 60), (0, 0, 0, 255))
    half = Image.new("CMYK", (60, 60), (0, 0, 0, 128))
    profile = cmyk_profile()
    for kind in ("JPEG", "TIFF"):
        assert np.abs(color_of(encoded(red, kind, icc_profile=profile)) - (255, 0, 0)).max() <= 12
        assert color_of(encoded(black, kind, icc_profile=profile)).max() <= 12
    assert np.abs(color_of(encoded(half, "TIFF", icc_profile=profile)) - color_of(encoded(half, "TIFF"))).max() <= 12


def test_an_srgb_image_is_not_changed() -> None:
    """Versions of sRGB differ by rounding. Converting would change what the model sees."""
    source = noise(80, 60)
    for profile in (ImageCms.ImageCmsProfile(SRGB).tobytes(), rgb_profile(SRGB_PRIMARIES)):
        found = pixels(normalized(encoded(source, icc_profile=profile)))
        assert np.array_equal(found, np.asarray(source))


SRGB_PRIMARIES: Primaries = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


@pytest.mark.parametrize("profile", [b"x", bytes(200), rgb_profile(PROPHOTO)[:300], cmyk_profile(), gray_profile(1.0)])
def test_a_profile_that_is_damaged_or_of_another_mode_is_ignored(profile: bytes) -> None:
    for kind in ("PNG", "TIFF"):
        data = encoded(Image.new("RGB", (60, 60), SEEN), kind, icc_profile=profile)
        assert np.array_equal(color_of(data), SEEN)


def test_the_gamma_of_a_png_is_applied() -> None:
    """Browsers do so; without it, a linear rendering is much too dark."""
    dark = encoded(Image.new("RGB", (60, 60), (128, 0, 255)))
    linear = with_png_chunk(dark, b"gAMA", struct.pack(">I", 100_000))
    assert np.abs(color_of(linear) - (188, 0, 255)).max() <= 1
    for chunk in (png_chunk(b"gAMA", struct.pack(">I", 45_455)), png_chunk(b"gAMA", bytes(4))):
        assert np.array_equal(color_of(dark[:33] + chunk + dark[33:]), (128, 0, 255))
    both = with_png_chunk(linear, b"sRGB", b"\0")
    assert np.array_equal(color_of(both), (128, 0, 255))
