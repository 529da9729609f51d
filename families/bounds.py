"""The sizes that a vision encoder accepts: the arithmetic that images and videos share."""

import math


def fit(
    width: int, height: int, *, frames: int, factor: int, min_pixels: int, max_pixels: int, max_aspect: int
) -> tuple[int, int]:
    """Return the size at which the model sees an image or a video.

    Gives the sizes of ``smart_resize`` of transformers' Glm4v processors for an even number of frames; a test compares
    them.

    Args:
        width, height: in pixels.
        factor: both sides of the result are multiples of this.
        min_pixels, max_pixels: bounds on all frames together.

    Returns:
        Width and height in pixels.

    Raises:
        ValueError: one side is more than ``max_aspect`` times the other.
    """
    original = f"{width}×{height}"
    if min(width, height) < factor:
        scale = max(factor / width, factor / height)
        width, height = int(width * scale), int(height * scale)
    if max(width, height) > max_aspect * min(width, height):
        raise ValueError(f"one side is more than {max_aspect} times the other ({original})")
    fitted = (round(width / factor) * factor, round(height / factor) * factor)
    pixels = frames * fitted[0] * fitted[1]
    if pixels > max_pixels:
        # The order of transformers' divisions: another order rounds differently, at 2232×62 for instance.
        shrink = math.sqrt(frames * width * height / max_pixels)
        fitted = (_round_down(width / shrink, factor), _round_down(height / shrink, factor))
    elif pixels < min_pixels:
        grow = math.sqrt(min_pixels / (frames * width * height))
        fitted = (math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor)
    return fitted


def _round_down(side: float, factor: int) -> int:
    return max(factor, math.floor(side / factor) * factor)
