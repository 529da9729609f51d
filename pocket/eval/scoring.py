"""Is an answer right? Boxes by how far they cover each other, lists in any order, all else word by word."""

import re
from collections import Counter

BOX = re.compile(r"\[(\d+),(\d+),(\d+),(\d+)\]")
COVERS = 0.5
"""Intersection over union from which a box counts as found."""
SEPARATORS = re.compile(r", then |, | and |，然后|、|和|\n")

Box = tuple[int, ...]


def boxes(answer: str) -> list[Box]:
    return [tuple(map(int, corners)) for corners in BOX.findall(answer)]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0


def overlaps(answer: str, wanted: str) -> list[float]:
    """Of each wanted box with the best of the answer's."""
    given = boxes(answer)
    return [max((overlap(box, found) for found in given), default=0.0) for box in boxes(wanted)]


def is_right(answer: str, wanted: str) -> bool:
    if boxes(wanted):
        told, asked = (BOX.sub("", text) for text in (answer, wanted))
        return (
            len(boxes(answer)) == len(boxes(wanted))
            and min(overlaps(answer, wanted)) >= COVERS
            and _parts(told) == _parts(asked)
        )
    return _parts(answer) == _parts(wanted) if "then" not in wanted and "然后" not in wanted else answer == wanted


def _parts(text: str) -> Counter[str]:
    return Counter(part.strip().lower() for part in SEPARATORS.split(text))
