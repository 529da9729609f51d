"""What is to be seen where: told to the vision tower while it learns, beside what the whole model is to say.

From words alone the tower learns late: a name said wrongly tells it neither where to look nor what for. So a layer of
its own, not part of the model, is to tell from each token of a picture what lies there; it is thrown away in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from families import FAMILIES
from pocket.world.lexicon import COLORS, SHAPES
from pocket.world.objects import Thing

SIDE = FAMILIES["pocket"].images.factor
"""Pixels of a token's cell."""
NAMES = ("", *SHAPES, *"0123456789")
PAINTS = ("", *COLORS)
RANKS = 16
"""Places in reading order that are told apart."""
WIDTHS = (len(NAMES), len(PAINTS), 1, 4, RANKS)
"""Of what is told of a cell: name, colour, is it a middle, edges of the box, place in reading order."""
COLUMNS = 8
UNKNOWN = -100
"""The name of a cell of which nothing is known."""


@dataclass(frozen=True)
class Spot:
    """A shape or a digit that is to be seen."""

    name: str
    color: str
    """Empty: it has none with a name."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""


def spots_of(things: Sequence[Thing]) -> list[Spot]:
    return [Spot(thing.shape, thing.color, thing.box) for thing in things]


def cells(spots: Sequence[Spot] | None, width: int, height: int) -> np.ndarray:
    """``[tokens, COLUMNS]``, float32, of a picture of so many pixels: name, colour, 1 in a spot's middle, its box in
    shares of the picture, its number in reading order. None: nothing is known.
    """
    columns, rows = width // SIDE, height // SIDE
    told = np.zeros((rows, columns, COLUMNS), dtype=np.float32)
    if spots is None:
        told[..., 0] = UNKNOWN
        return told.reshape(-1, COLUMNS)
    middles = []
    for number, spot in enumerate(spots):
        left, top, right, bottom = spot.box
        what = NAMES.index(spot.name), PAINTS.index(spot.color)
        inside = np.s_[_first(top) : _first(bottom), _first(left) : _first(right)]
        told[inside][..., :2] = what
        edges = left / width, top / height, right / width, bottom / height
        place = int((top + bottom) / 2 // SIDE), int((left + right) / 2 // SIDE)
        middles.append((place, (*what, 1, *edges, min(number, RANKS - 1))))
    for (row, column), values in reversed(middles):
        told[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)] = values
    return told.reshape(-1, COLUMNS)


def _first(edge: float) -> int:
    """The first cell whose middle lies behind an edge."""
    return max(0, round(edge / SIDE))


def judge(told: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far what a layer tells of cells, ``[…, sum(WIDTHS)]``, is from what ``cells`` says, ``[…, COLUMNS]``; and the
    share of middles whose name and colour are told rightly.
    """
    names, colors, middles, edges, ranks = torch.split(told.flatten(0, -2).float(), list(WIDTHS), dim=-1)
    wanted = wanted.flatten(0, -2)
    known = (wanted[:, 0] >= 0).float()
    name, color, rank = (wanted[:, column].clamp(min=0).long() for column in (0, 1, 7))
    middle = wanted[:, 2]

    def mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (values * weights).sum() / weights.sum().clamp(min=1)

    named = functional.cross_entropy(names, name, reduction="none")
    painted = functional.cross_entropy(colors, color, reduction="none")
    found = functional.binary_cross_entropy_with_logits(middles[:, 0], middle, reduction="none")
    boxed = functional.smooth_l1_loss(edges, wanted[:, 3:7], reduction="none", beta=0.02).sum(-1)
    ranked = functional.cross_entropy(ranks, rank, reduction="none")
    loss = mean(named + painted + found, known) + mean(named + painted + 4 * boxed + 0.2 * ranked, middle)
    right = mean(((names.argmax(-1) == name) & (colors.argmax(-1) == color)).float(), middle)
    return loss, right.detach()
