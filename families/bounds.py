"""Sizes that a vision tower takes: the arithmetic that pictures and videos share."""

import math


def fit(
    width: int, height: int, *, frames: int, factor: int, min_pixels: int, max_pixels: int, max_aspect: int
) -> tuple[int, int]:
    """The (width, height) that the model sees: multiples of ``factor``, within the bounds on all frames together.

    Agrees with ``smart_resize`` of transformers' Glm4v processors for an even number of frames; a test compares them.

    Raises:
        ValueError: one side is more than ``max_aspect`` times the other.
    """
    asked = f"{width}×{height}"
    if min(width, height) < factor:
        scale = max(factor / width, factor / height)
        width, height = int(width * scale), int(height * scale)
    if max(width, height) > max_aspect * min(width, height):
        raise ValueError(f"one side is more than {max_aspect} times the other ({asked})")
    fitted = (round(width / factor) * factor, round(height / factor) * factor)
    seen = frames * fitted[0] * fitted[1]
    if seen > max_pixels:
        # Divided in transformers' order: another one rounds differently, at 2232×62 for instance.
        shrink = math.sqrt(frames * width * height / max_pixels)
        fitted = (_down(width / shrink, factor), _down(height / shrink, factor))
    elif seen < min_pixels:
        grow = math.sqrt(min_pixels / (frames * width * height))
        fitted = (math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor)
    return fitted


def _down(side: float, factor: int) -> int:
    return max(factor, math.floor(side / factor) * factor)
