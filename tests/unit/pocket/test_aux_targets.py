"""Auxiliary targets match what was drawn."""

import random

import numpy as np
import torch

from pocket.tasks.aux_targets import (
    CLASS_NAMES,
    COLOR_NAMES,
    HEAD_WIDTHS,
    SIDE,
    TARGET_COLUMNS,
    UNKNOWN,
    aux_loss,
    aux_targets_of,
    encode_cells,
)
from pocket.tasks.pages import Fonts, pages
from testing.inputs.scenes import SIZE, THREE_OBJECTS

COLUMNS_OF_CELLS, ROWS = SIZE[0] // SIDE, SIZE[1] // SIDE


def test_the_center_cell_of_an_object_has_all_targets() -> None:
    targets = encode_cells(aux_targets_of(THREE_OBJECTS.objects), *SIZE).reshape(ROWS, COLUMNS_OF_CELLS, TARGET_COLUMNS)
    middles = np.argwhere(targets[..., 2] == 1)
    assert len(middles) == 3
    for number, obj in enumerate(THREE_OBJECTS.objects):
        name, color, is_middle, left, top, right, bottom, rank = targets[int(obj.y // SIDE), int(obj.x // SIDE)]
        assert (CLASS_NAMES[int(name)], COLOR_NAMES[int(color)], is_middle, rank) == (obj.shape, obj.color, 1, number)
        drawn = (left * SIZE[0], top * SIZE[1], right * SIZE[0], bottom * SIZE[1])
        assert np.allclose(drawn, obj.box, atol=0.01)


def test_a_cell_has_the_class_of_the_object_whose_box_contains_its_center() -> None:
    targets = encode_cells(aux_targets_of(THREE_OBJECTS.objects), *SIZE).reshape(ROWS, COLUMNS_OF_CELLS, TARGET_COLUMNS)
    for row in range(ROWS):
        for column in range(COLUMNS_OF_CELLS):
            x, y = (column + 0.5) * SIDE, (row + 0.5) * SIDE
            inside = [t for t in THREE_OBJECTS.objects if t.box[0] < x < t.box[2] and t.box[1] < y < t.box[3]]
            if inside:
                assert CLASS_NAMES[int(targets[row, column, 0])] == inside[0].shape
            elif targets[row, column, 2] == 0:
                assert targets[row, column, 0] == 0


def test_digits_of_a_page_are_targets_in_reading_order() -> None:
    example = pages(random.Random(3), [(280, 392)], "en", Fonts())
    assert "".join(target.name for target in example.aux_targets[0]) == example.answer
    lefts = [target.box[0] for target in example.aux_targets[0]]
    assert lefts == sorted(lefts)


def test_the_loss_is_near_zero_for_correct_outputs_and_zero_without_annotation() -> None:
    expected = torch.from_numpy(encode_cells(aux_targets_of(THREE_OBJECTS.objects), *SIZE))[None]
    right = torch.zeros(*expected.shape[:2], sum(HEAD_WIDTHS))
    offsets = np.cumsum([0, *HEAD_WIDTHS])
    for start, column in ((0, 0), (1, 1), (4, 7)):
        right.scatter_(2, expected[..., column : column + 1].long() + int(offsets[start]), 20.0)
    right[..., offsets[2]] = 40 * expected[..., 2] - 20
    right[..., offsets[3] : offsets[4]] = expected[..., 3:7]
    loss, share = aux_loss(right, expected)
    assert loss < 1e-3
    assert share == 1
    loss, share = aux_loss(torch.zeros_like(right), expected)
    assert loss > 5
    unknown = torch.from_numpy(encode_cells(None, *SIZE))[None]
    assert (unknown[..., 0] == UNKNOWN).all()
    assert aux_loss(right, unknown)[0] == 0
