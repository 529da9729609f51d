"""Compares answers: boxes by intersection over union, lists in any order, other text word by word."""

import re
from collections import Counter

BOX = re.compile(r"\[(\d+),(\d+),(\d+),(\d+)\]")
IOU_THRESHOLD = 0.5
"""Minimum intersection over union of a correct box."""
SEPARATORS = re.compile(r", then |, | and |，然后|、|和|\n")

Box = tuple[int, ...]


def boxes(answer: str) -> list[Box]:
    return [tuple(map(int, corners)) for corners in BOX.findall(answer)]


def iou(first: Box, other: Box) -> float:
    """Return the intersection over union, 0 to 1."""
    width = min(first[2], other[2]) - max(first[0], other[0])
    height = min(first[3], other[3]) - max(first[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, other))
    return both / (areas - both) if areas > both else 0.0


def best_ious(answer: str, expected: str) -> list[float]:
    """Return the intersection over union of each expected box with the best box of the answer."""
    given = boxes(answer)
    return [max((iou(box, found) for found in given), default=0.0) for box in boxes(expected)]


def is_right(answer: str, expected: str) -> bool:
    if boxes(expected):
        given_text, expected_text = (BOX.sub("", text) for text in (answer, expected))
        return (
            len(boxes(answer)) == len(boxes(expected))
            and min(best_ious(answer, expected)) >= IOU_THRESHOLD
            and _parts(given_text) == _parts(expected_text)
        )
    return (
        _parts(answer) == _parts(expected) if "then" not in expected and "然后" not in expected else answer == expected
    )


def _parts(text: str) -> Counter[str]:
    return Counter(part.strip().lower() for part in SEPARATORS.split(text))
