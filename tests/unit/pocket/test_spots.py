"""What a picture's cells are told to hold is what was drawn there."""

import random

import numpy as np
import torch

from pocket.tasks.aux_targets import COLUMNS, NAMES, PAINTS, SIDE, UNKNOWN, WIDTHS, cells, judge, spots_of
from pocket.tasks.pages import Fonts, pages
from tests.unit.pocket.test_scenes import SIZE, THREE

COLUMNS_OF_CELLS, ROWS = SIZE[0] // SIDE, SIZE[1] // SIDE


def test_a_cell_in_the_middle_of_a_thing_tells_all_of_it() -> None:
    told = cells(spots_of(THREE.things), *SIZE).reshape(ROWS, COLUMNS_OF_CELLS, COLUMNS)
    middles = np.argwhere(told[..., 2] == 1)
    assert len(middles) == 3
    for number, thing in enumerate(THREE.things):
        name, color, is_middle, left, top, right, bottom, rank = told[int(thing.y // SIDE), int(thing.x // SIDE)]
        assert (NAMES[int(name)], PAINTS[int(color)], is_middle, rank) == (thing.shape, thing.color, 1, number)
        drawn = (left * SIZE[0], top * SIZE[1], right * SIZE[0], bottom * SIZE[1])
        assert np.allclose(drawn, thing.box, atol=0.01)


def test_a_cell_is_a_things_where_its_middle_lies_in_the_box() -> None:
    told = cells(spots_of(THREE.things), *SIZE).reshape(ROWS, COLUMNS_OF_CELLS, COLUMNS)
    for row in range(ROWS):
        for column in range(COLUMNS_OF_CELLS):
            x, y = (column + 0.5) * SIDE, (row + 0.5) * SIDE
            inside = [t for t in THREE.things if t.box[0] < x < t.box[2] and t.box[1] < y < t.box[3]]
            if inside:
                assert NAMES[int(told[row, column, 0])] == inside[0].shape
            elif told[row, column, 2] == 0:
                assert told[row, column, 0] == 0


def test_digits_of_a_page_are_told_in_order() -> None:
    example = pages(random.Random(3), [(280, 392)], "en", Fonts())
    assert "".join(spot.name for spot in example.spots[0]) == example.answer
    lefts = [spot.box[0] for spot in example.spots[0]]
    assert lefts == sorted(lefts)


def test_telling_all_rightly_costs_nearly_nothing_and_nothing_known_costs_nothing() -> None:
    wanted = torch.from_numpy(cells(spots_of(THREE.things), *SIZE))[None]
    right = torch.zeros(*wanted.shape[:2], sum(WIDTHS))
    offsets = np.cumsum([0, *WIDTHS])
    for start, column in ((0, 0), (1, 1), (4, 7)):
        right.scatter_(2, wanted[..., column : column + 1].long() + int(offsets[start]), 20.0)
    right[..., offsets[2]] = 40 * wanted[..., 2] - 20
    right[..., offsets[3] : offsets[4]] = wanted[..., 3:7]
    loss, share = judge(right, wanted)
    assert loss < 1e-3
    assert share == 1
    loss, share = judge(torch.zeros_like(right), wanted)
    assert loss > 5
    unknown = torch.from_numpy(cells(None, *SIZE))[None]
    assert (unknown[..., 0] == UNKNOWN).all()
    assert judge(right, unknown)[0] == 0
