"""Boxes that an answer names, from the model's thousandths to the pixels of the client's pictures.

GLM-V writes them as ``[[x1, y1, x2, y2]]``, one or several, between its box special_tokens, or as JSON with
``bbox_2d``. Labels
and the number of the picture stand beside them, if at all.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from families import SpecialTokens
from jobs.model.prepared import PreparedImage

SCALE = 1_000
MAX_BOXES = 200
MAX_BLOCKS = 200
"""Places at which JSON may begin: each is tried to the end of the text."""
COORDINATE = r"\s*(\d{1,4}(?:\.\d{1,6})?)\s*"
FOUR = re.compile(rf"\[{COORDINATE},{COORDINATE},{COORDINATE},{COORDINATE}\]")
BOX_FIELDS = ("bbox_2d", "box_2d", "bbox", "box")
LABEL_FIELDS = ("label", "name", "text", "sub_label")
PICTURE_FIELDS = ("image", "image_id", "image_index", "picture", "page")
FIELD = re.compile(rf'"(?:{"|".join(BOX_FIELDS)})"\s*:')
PICTURE = re.compile(
    r"(image|picture|photo|figure|page|图|图片|第)[\s\-_#:]*(\d{1,3})(?:\s*(?:st|nd|rd|th|张|幅|页))?",
    re.IGNORECASE,
)
LABEL = re.compile(r"(?:^|[\n;.。；]|[-*•]\s)\s*(?:\d+[.)]\s*)?([^\n:;.：]{1,80})[:：]\s*$")
LONGEST_LABEL = 200


@dataclass(frozen=True, slots=True)
class Box:
    label: str | None
    image: int | None
    """Index among the conversation's pictures; None: several are possible and the answer does not say."""
    xyxy: tuple[int, int, int, int] | None
    """In pixels of the client's picture, upright."""
    normalized: tuple[float, float, float, float]
    """In thousandths, left before right and top before bottom."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    corners: tuple[float, ...]
    label: str | None = None
    picture: int | None = None
    """As the answer counts, from 1."""


def boxes_in(answer: str, special_tokens: SpecialTokens, pictures: Sequence[PreparedImage]) -> list[Box]:
    """Boxes in the order of the answer, which still has its special tokens. At most 200."""
    if not pictures:
        return []
    found = [*_marked(answer, special_tokens), *_unmarked(answer, special_tokens)]
    boxes = (_box(item, pictures) for item in found[:MAX_BOXES])
    return [box for box in boxes if box is not None]


def _marked(answer: str, special_tokens: SpecialTokens) -> Iterator[_Found]:
    pattern = re.compile(
        f"{re.escape(special_tokens.box_open)}(.*?)(?:{re.escape(special_tokens.box_close)}|$)", re.DOTALL
    )
    before = 0
    for match in pattern.finditer(answer):
        yield from _read(match[1], told=answer[before : match.start()])
        before = match.end()


def _unmarked(answer: str, special_tokens: SpecialTokens) -> Iterator[_Found]:
    """JSON outside of special_tokens. Bare lists of numbers there are mostly just that."""
    pattern = re.compile(
        f"{re.escape(special_tokens.box_open)}.*?(?:{re.escape(special_tokens.box_close)}|$)", re.DOTALL
    )
    rest = pattern.sub("", answer)
    if FIELD.search(rest):
        for block in _json_blocks(rest):
            yield from _walk(block)


def _read(content: str, *, told: str) -> Iterator[_Found]:
    """What stands between two special_tokens; ``told``: the text before it."""
    line = told.rpartition("\n")[2]
    label = LABEL.search(line)
    pictures = PICTURE.findall(line)
    name, number = _name(label[1]) if label else None, int(pictures[-1][1]) if pictures else None
    if FIELD.search(content):
        for block in _json_blocks(content):
            yield from _walk(block, name, number)
        return
    for corners in FOUR.findall(content):
        yield _Found(tuple(map(float, corners)), name, number)


def _name(label: str) -> str | None:
    """None: it only says which picture."""
    name = label.strip(" *\"'`-•,，、")
    return None if PICTURE.sub("", name).strip().lower() in ("", "in", "on", "in the", "on the") else name


def _json_blocks(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), 0
    for _ in range(MAX_BLOCKS):
        start = min((at for at in (text.find("{", place), text.find("[", place)) if at >= 0), default=-1)
        if start < 0:
            return
        try:
            block, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
        else:
            yield block


def _walk(value: Any, label: str | None = None, picture: int | None = None, depth: int = 0) -> Iterator[_Found]:
    if depth > 8:
        return
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, label, picture, depth + 1)
    elif isinstance(value, dict):
        label = next((value[name] for name in LABEL_FIELDS if isinstance(value.get(name), str)), label)
        picture = next((value[name] for name in PICTURE_FIELDS if type(value.get(name)) is int), picture)
        for name, item in value.items():
            if name in BOX_FIELDS:
                for corners in _fours(item):
                    yield _Found(corners, label, picture)
            elif isinstance(item, list | dict):
                yield from _walk(item, label, picture, depth + 1)


def _fours(value: Any) -> Iterator[tuple[float, ...]]:
    """``[1, 2, 3, 4]``, or a list of such."""
    if not isinstance(value, list):
        return
    if len(value) == 4 and all(type(item) in (int, float) for item in value):
        yield tuple(map(float, value))
        return
    for item in value:
        if isinstance(item, list) and len(item) == 4 and all(type(number) in (int, float) for number in item):
            yield tuple(map(float, item))


def _box(found: _Found, pictures: Sequence[PreparedImage]) -> Box | None:
    """None: it is no box in thousandths."""
    first, second, third, fourth = found.corners
    left, right = sorted((first, third))
    top, bottom = sorted((second, fourth))
    if not (0 <= left < right <= SCALE and 0 <= top < bottom <= SCALE):
        return None
    image = _picture_index(found.picture, pictures)
    xyxy = None
    if image is not None:
        width, height = pictures[image].source_width, pictures[image].source_height
        scaled = zip((left, top, right, bottom), (width, height, width, height), strict=True)
        xyxy = tuple(round(thousandths * side / SCALE) for thousandths, side in scaled)
    label = found.label[:LONGEST_LABEL] if found.label else None
    return Box(label, image, xyxy, (left, top, right, bottom))  # type: ignore[arg-type]


def _picture_index(number: int | None, pictures: Sequence[PreparedImage]) -> int | None:
    if len(pictures) == 1:
        return 0
    if number is None:
        return None
    by_page = [index for index, picture in enumerate(pictures) if picture.page == number]
    if len(by_page) == 1:
        return by_page[0]
    return number - 1 if 1 <= number <= len(pictures) else None
