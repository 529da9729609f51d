"""Finds the boxes in an answer and converts them from the model's thousandths to pixels of the client's images.

GLM-V writes one or several boxes as ``[[x1, y1, x2, y2]]`` between its box tokens, or as JSON with ``bbox_2d``. The
label and the number of the image are in the text beside a box, or absent.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from families import SpecialTokens
from jobs.model.documents.prepared import PreparedImage

SCALE = 1_000
MAX_BOXES = 200
MAX_JSON_STARTS = 200
"""Positions at which JSON may begin; from each, parsing may read to the end of the text."""
COORDINATE = r"\s*(\d{1,4}(?:\.\d{1,6})?)\s*"
COORDINATES = re.compile(rf"\[{COORDINATE},{COORDINATE},{COORDINATE},{COORDINATE}\]")
BOX_FIELDS = ("bbox_2d", "box_2d", "bbox", "box")
LABEL_FIELDS = ("label", "name", "text", "sub_label")
IMAGE_FIELDS = ("image", "image_id", "image_index", "picture", "page")
BOX_FIELD = re.compile(rf'"(?:{"|".join(BOX_FIELDS)})"\s*:')
IMAGE_NUMBER = re.compile(
    r"(image|picture|photo|figure|page|图|图片|第)[\s\-_#:]*(\d{1,3})(?:\s*(?:st|nd|rd|th|张|幅|页))?",
    re.IGNORECASE,
)
LABEL = re.compile(r"(?:^|[\n;.。；]|[-*•]\s)\s*(?:\d+[.)]\s*)?([^\n:;.：]{1,80})[:：]\s*$")
MAX_LABEL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Box:
    """A region that an answer names."""

    label: str | None
    image: int | None
    """Index among the images of the conversation; None if there are several and the answer does not say which."""
    xyxy: tuple[int, int, int, int] | None
    """In pixels of the client's image, upright."""
    normalized: tuple[float, float, float, float]
    """In thousandths, left before right and top before bottom."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    corners: tuple[float, ...]
    label: str | None = None
    image_number: int | None = None
    """As in the answer, counted from 1."""


def find_boxes(answer: str, special_tokens: SpecialTokens, images: Sequence[PreparedImage]) -> list[Box]:
    """Return at most 200 boxes: those in box tokens in the order of the answer, then those in other JSON.

    Args:
        answer: the text with its special tokens.
    """
    if not images:
        return []
    found = [*_inside_box_tokens(answer, special_tokens), *_outside_box_tokens(answer, special_tokens)]
    boxes = (_convert(item, images) for item in found[:MAX_BOXES])
    return [box for box in boxes if box is not None]


def _inside_box_tokens(answer: str, special_tokens: SpecialTokens) -> Iterator[_Found]:
    pattern = re.compile(
        f"{re.escape(special_tokens.box_open)}(.*?)(?:{re.escape(special_tokens.box_close)}|$)", re.DOTALL
    )
    before = 0
    for match in pattern.finditer(answer):
        yield from _parse(match[1], preceding=answer[before : match.start()])
        before = match.end()


def _outside_box_tokens(answer: str, special_tokens: SpecialTokens) -> Iterator[_Found]:
    """Find boxes in JSON outside of box tokens. Plain lists of numbers there are mostly not boxes."""
    pattern = re.compile(
        f"{re.escape(special_tokens.box_open)}.*?(?:{re.escape(special_tokens.box_close)}|$)", re.DOTALL
    )
    rest = pattern.sub("", answer)
    if BOX_FIELD.search(rest):
        for block in _json_blocks(rest):
            yield from _walk(block)


def _parse(content: str, *, preceding: str) -> Iterator[_Found]:
    """Find the boxes between two box tokens.

    Args:
        preceding: the text before the first of the two tokens.
    """
    line = preceding.rpartition("\n")[2]
    label = LABEL.search(line)
    numbers = IMAGE_NUMBER.findall(line)
    name, number = _clean_label(label[1]) if label else None, int(numbers[-1][1]) if numbers else None
    if BOX_FIELD.search(content):
        for block in _json_blocks(content):
            yield from _walk(block, name, number)
        return
    for corners in COORDINATES.findall(content):
        yield _Found(tuple(map(float, corners)), name, number)


def _clean_label(label: str) -> str | None:
    """Return the label without decoration, or None if it only says which image."""
    name = label.strip(" *\"'`-•,，、")
    return None if IMAGE_NUMBER.sub("", name).strip().lower() in ("", "in", "on", "in the", "on the") else name


def _json_blocks(text: str) -> Iterator[Any]:
    decoder, position = json.JSONDecoder(), 0
    for _ in range(MAX_JSON_STARTS):
        start = min((at for at in (text.find("{", position), text.find("[", position)) if at >= 0), default=-1)
        if start < 0:
            return
        try:
            block, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            position = start + 1
        else:
            yield block


def _walk(value: Any, label: str | None = None, number: int | None = None, depth: int = 0) -> Iterator[_Found]:
    if depth > 8:
        return
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, label, number, depth + 1)
    elif isinstance(value, dict):
        label = next((value[name] for name in LABEL_FIELDS if isinstance(value.get(name), str)), label)
        number = next((value[name] for name in IMAGE_FIELDS if type(value.get(name)) is int), number)
        for name, item in value.items():
            if name in BOX_FIELDS:
                for corners in _coordinates(item):
                    yield _Found(corners, label, number)
            elif isinstance(item, list | dict):
                yield from _walk(item, label, number, depth + 1)


def _coordinates(value: Any) -> Iterator[tuple[float, ...]]:
    """Read ``[x1, y1, x2, y2]`` or a list of them."""
    if not isinstance(value, list):
        return
    if len(value) == 4 and all(type(item) in (int, float) for item in value):
        yield tuple(map(float, value))
        return
    for item in value:
        if isinstance(item, list) and len(item) == 4 and all(type(number) in (int, float) for number in item):
            yield tuple(map(float, item))


def _convert(found: _Found, images: Sequence[PreparedImage]) -> Box | None:
    """Return the box in pixels, or None if its numbers are not thousandths."""
    first, second, third, fourth = found.corners
    left, right = sorted((first, third))
    top, bottom = sorted((second, fourth))
    if not (0 <= left < right <= SCALE and 0 <= top < bottom <= SCALE):
        return None
    image = _image_index(found.image_number, images)
    xyxy = None
    if image is not None:
        width, height = images[image].source_width, images[image].source_height
        scaled = zip((left, top, right, bottom), (width, height, width, height), strict=True)
        xyxy = tuple(round(thousandths * side / SCALE) for thousandths, side in scaled)
    label = found.label[:MAX_LABEL_CHARS] if found.label else None
    return Box(label, image, xyxy, (left, top, right, bottom))  # type: ignore[arg-type]


def _image_index(number: int | None, images: Sequence[PreparedImage]) -> int | None:
    if len(images) == 1:
        return 0
    if number is None:
        return None
    by_page = [index for index, image in enumerate(images) if image.page == number]
    if len(by_page) == 1:
        return by_page[0]
    return number - 1 if 1 <= number <= len(images) else None
