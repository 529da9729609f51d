"""Boxes as models write them, in pixels of the client's pictures."""

from typing import Any

import pytest

from families import FAMILIES
from jobs.model.prepared import PreparedImage
from worker.generate.boxes import MAX_BOXES, Box, boxes_in

MARKS = FAMILIES["glm-4.1v-thinking"].special_tokens
OPEN, CLOSE = MARKS.box_open, MARKS.box_close
ONE = (PreparedImage("k", 336, 168, 2_000, 1_000),)
TWO = (*ONE, PreparedImage("k", 100, 100, 400, 400))


def found(answer: str, pictures: Any = ONE) -> list[Box]:
    return boxes_in(answer.replace("⟦", OPEN).replace("⟧", CLOSE), MARKS, pictures)


def places(answer: str, pictures: Any = ONE) -> list[tuple[Any, Any, Any]]:
    return [(box.label, box.image, box.xyxy) for box in found(answer, pictures)]


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
def test_a_box_is_found_however_it_is_written(answer: str) -> None:
    assert found(answer) == [Box(None, 0, (200, 200, 600, 400), (100, 200, 300, 400))]


def test_the_edges_of_the_picture_are_its_own() -> None:
    assert places("⟦[[0,0,1000,1000]]⟧") == [(None, 0, (0, 0, 2_000, 1_000))]
    assert places("⟦[[0,0,999,999]]⟧") == [(None, 0, (0, 0, 1_998, 999))]


def test_several_boxes_and_their_labels() -> None:
    assert places("- red circle: ⟦[[0,0,10,10],[20,20,30,30]]⟧\n- **blue one**: ⟦[[40,40,50,50]]⟧") == [
        ("red circle", 0, (0, 0, 20, 10)),
        ("red circle", 0, (40, 20, 60, 30)),
        ("blue one", 0, (80, 40, 100, 50)),
    ]
    assert places('[{"label": "cat", "bbox_2d": [0, 0, 10, 10]}, {"label": "dog", "box_2d": [[0, 0, 20, 20]]}]') == [
        ("cat", 0, (0, 0, 20, 10)),
        ("dog", 0, (0, 0, 40, 20)),
    ]
    assert places('{"objects": [{"name": "a", "parts": [{"bbox": [1, 1, 2, 2]}]}]}')[0][0] == "a"


def test_of_several_pictures_the_answer_says_which() -> None:
    assert places("In image 2: ⟦[[500,500,1000,1000]]⟧", TWO) == [(None, 1, (200, 200, 400, 400))]
    assert places("第2张图⟦[[500,500,1000,1000]]⟧", TWO)[0][1] == 1
    assert places('{"image": 1, "bbox_2d": [0, 0, 500, 500]}', TWO) == [(None, 0, (0, 0, 1_000, 500))]
    [unknown] = found("⟦[[500,500,1000,1000]]⟧", TWO)
    assert (unknown.image, unknown.xyxy, unknown.normalized) == (None, None, (500, 500, 1000, 1000))
    assert places("image 1: ⟦[[0,0,500,500]]⟧, image 2: ⟦[[0,0,500,500]]⟧", TWO) == [
        (None, 0, (0, 0, 1_000, 500)),
        (None, 1, (0, 0, 200, 200)),
    ]
    assert places("In image 7: ⟦[[0,0,9,9]]⟧", TWO)[0][1] is None


def test_pages_are_called_by_their_numbers() -> None:
    pages = tuple(PreparedImage("k", 100, 100, 100, 100, page=number) for number in (4, 7))
    assert places("Page 7: ⟦[[0,0,500,500]]⟧", pages)[0][1:] == (1, (0, 0, 50, 50))


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
def test_what_is_no_box_is_none(answer: str) -> None:
    assert found(answer) == []


def test_without_a_picture_there_are_no_boxes() -> None:
    assert found("⟦[[100,200,300,400]]⟧", ()) == []


def test_an_endless_answer_has_a_bounded_number() -> None:
    assert len(found("⟦" + "[1,2,3,4]," * 5_000 + "⟧")) == MAX_BOXES
