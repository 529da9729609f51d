"""Boxes are found in all forms that models write, and converted to pixels of the client's images."""

from typing import Any

import pytest

from families import FAMILIES
from jobs.model.documents.prepared import PreparedImage
from worker.generate.boxes import MAX_BOXES, Box, find_boxes

SPECIAL_TOKENS = FAMILIES["glm-4.1v-thinking"].special_tokens
OPEN, CLOSE = SPECIAL_TOKENS.box_open, SPECIAL_TOKENS.box_close
ONE = (PreparedImage("k", 336, 168, 2_000, 1_000),)
TWO = (*ONE, PreparedImage("k", 100, 100, 400, 400))


def find(answer: str, images: Any = ONE) -> list[Box]:
    return find_boxes(answer.replace("⟦", OPEN).replace("⟧", CLOSE), SPECIAL_TOKENS, images)


def in_pixels(answer: str, images: Any = ONE) -> list[tuple[Any, Any, Any]]:
    return [(box.label, box.image, box.xyxy) for box in find(answer, images)]


@pytest.mark.parametrize(
    "answer",
    [
        "⟦[[100,200,300,400]]⟧",
        "⟦[100, 200, 300, 400]⟧",
        "It is at ⟦[[100,200,300,400]]⟧.",
        "⟦[[300,400,100,200]]⟧",
        "⟦[[100.0,200,300,400.0]]⟧",
        '⟦{"bbox_2d": [100, 200, 300, 400]}⟧',
        '```json\n[{"bbox_2d": [100, 200, 300, 400]}]\n```',
        "⟦[[100,200,300,400]]",
    ],
)
def test_box_is_found_in_every_notation(answer: str) -> None:
    assert find(answer) == [Box(None, 0, (200, 200, 600, 400), (100, 200, 300, 400))]


def test_coordinates_at_the_edges_of_the_image_are_valid() -> None:
    assert in_pixels("⟦[[0,0,1000,1000]]⟧") == [(None, 0, (0, 0, 2_000, 1_000))]
    assert in_pixels("⟦[[0,0,999,999]]⟧") == [(None, 0, (0, 0, 1_998, 999))]


def test_several_boxes_have_their_labels() -> None:
    assert in_pixels("- red circle: ⟦[[0,0,10,10],[20,20,30,30]]⟧\n- **blue one**: ⟦[[40,40,50,50]]⟧") == [
        ("red circle", 0, (0, 0, 20, 10)),
        ("red circle", 0, (40, 20, 60, 30)),
        ("blue one", 0, (80, 40, 100, 50)),
    ]
    assert in_pixels('[{"label": "cat", "bbox_2d": [0, 0, 10, 10]}, {"label": "dog", "box_2d": [[0, 0, 20, 20]]}]') == [
        ("cat", 0, (0, 0, 20, 10)),
        ("dog", 0, (0, 0, 40, 20)),
    ]
    assert in_pixels('{"objects": [{"name": "a", "parts": [{"bbox": [1, 1, 2, 2]}]}]}')[0][0] == "a"


def test_answer_says_to_which_of_several_images_a_box_belongs() -> None:
    assert in_pixels("In image 2: ⟦[[500,500,1000,1000]]⟧", TWO) == [(None, 1, (200, 200, 400, 400))]
    assert in_pixels("第2张图⟦[[500,500,1000,1000]]⟧", TWO)[0][1] == 1
    assert in_pixels('{"image": 1, "bbox_2d": [0, 0, 500, 500]}', TWO) == [(None, 0, (0, 0, 1_000, 500))]
    [unknown] = find("⟦[[500,500,1000,1000]]⟧", TWO)
    assert (unknown.image, unknown.xyxy, unknown.normalized) == (None, None, (500, 500, 1000, 1000))
    assert in_pixels("image 1: ⟦[[0,0,500,500]]⟧, image 2: ⟦[[0,0,500,500]]⟧", TWO) == [
        (None, 0, (0, 0, 1_000, 500)),
        (None, 1, (0, 0, 200, 200)),
    ]
    assert in_pixels("In image 7: ⟦[[0,0,9,9]]⟧", TWO)[0][1] is None


def test_pages_are_identified_by_their_numbers() -> None:
    pages = tuple(PreparedImage("k", 100, 100, 100, 100, page=number) for number in (4, 7))
    assert in_pixels("Page 7: ⟦[[0,0,500,500]]⟧", pages)[0][1:] == (1, (0, 0, 50, 50))


@pytest.mark.parametrize(
    "answer",
    [
        "four",
        "⟦42⟧",
        "⟦[1, 2]⟧",
        "⟦[[100,200,100,400]]⟧",
        "⟦[[100,200,1300,400]]⟧",
        "the list [1, 2, 3, 4] is sorted",
        '{"bbox_2d": ["a", 1, 2, 3]}',
        '{"bbox_2d": [true, 1, 2, 3]}',
        '{"bbox_2d": ' + "[" * 5_000,
        "⟦" + "[" * 5_000,
    ],
)
def test_text_without_a_valid_box_yields_none(answer: str) -> None:
    assert find(answer) == []


def test_without_images_there_are_no_boxes() -> None:
    assert find("⟦[[100,200,300,400]]⟧", ()) == []


def test_number_of_boxes_is_bounded() -> None:
    assert len(find("⟦" + "[1,2,3,4]," * 5_000 + "⟧")) == MAX_BOXES
