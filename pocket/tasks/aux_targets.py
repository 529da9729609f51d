"""Auxiliary targets: what each cell of an image shows.

From the text loss alone the vision encoder learns late, because a wrong word says neither where to look nor for what. An
auxiliary head predicts from each image token what lies there. It is not part of the model and is dropped after training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from families import FAMILIES
from pocket.world.lexicon import COLORS, SHAPES
from pocket.world.objects import SceneObject

SIDE = FAMILIES["pocket"].images.factor
"""Side of an image token's cell in pixels."""
CLASS_NAMES = ("", *SHAPES, *"0123456789")
COLOR_NAMES = ("", *COLORS)
NUM_RANKS = 16
"""Number of positions in reading order that are distinguished."""
HEAD_WIDTHS = (len(CLASS_NAMES), len(COLOR_NAMES), 1, 4, NUM_RANKS)
"""Outputs of the head per cell: class, color, center, box edges, position in reading order."""
TARGET_COLUMNS = 8
UNKNOWN = -100
"""Class of a cell without annotation."""


@dataclass(frozen=True)
class AuxTarget:
    """A visible shape or digit."""

    name: str
    color: str
    """Empty for digits."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""


def aux_targets_of(objects: Sequence[SceneObject]) -> list[AuxTarget]:
    return [AuxTarget(obj.shape, obj.color, obj.box) for obj in objects]


def encode_cells(targets: Sequence[AuxTarget] | None, width: int, height: int) -> np.ndarray:
    """Return the targets of an image as ``[tokens, TARGET_COLUMNS]``, float32.

    The columns are class, color, 1 in the center cell of an object, its box in fractions of the image, and its position in
    reading order.

    Args:
        targets: None if the image is not annotated.
        width, height: in pixels.
    """
    columns, rows = width // SIDE, height // SIDE
    target = np.zeros((rows, columns, TARGET_COLUMNS), dtype=np.float32)
    if targets is None:
        target[..., 0] = UNKNOWN
        return target.reshape(-1, TARGET_COLUMNS)
    middles = []
    for number, item in enumerate(targets):
        left, top, right, bottom = item.box
        what = CLASS_NAMES.index(item.name), COLOR_NAMES.index(item.color)
        inside = np.s_[_first(top) : _first(bottom), _first(left) : _first(right)]
        target[inside][..., :2] = what
        edges = left / width, top / height, right / width, bottom / height
        place = int((top + bottom) / 2 // SIDE), int((left + right) / 2 // SIDE)
        middles.append((place, (*what, 1, *edges, min(number, NUM_RANKS - 1))))
    for (row, column), values in reversed(middles):
        target[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)] = values
    return target.reshape(-1, TARGET_COLUMNS)


def _first(edge: float) -> int:
    """Return the first cell whose center is past an edge."""
    return max(0, round(edge / SIDE))


def aux_loss(outputs: torch.Tensor, expected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of the head's outputs, and the share of centers with correct class and color.

    Args:
        outputs: outputs of the head, ``[…, sum(HEAD_WIDTHS)]``.
        expected: targets of ``encode_cells``, ``[…, TARGET_COLUMNS]``.
    """
    names, colors, middles, edges, ranks = torch.split(outputs.flatten(0, -2).float(), list(HEAD_WIDTHS), dim=-1)
    expected = expected.flatten(0, -2)
    known = (expected[:, 0] >= 0).float()
    name, color, rank = (expected[:, column].clamp(min=0).long() for column in (0, 1, 7))
    middle = expected[:, 2]

    def mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (values * weights).sum() / weights.sum().clamp(min=1)

    named = functional.cross_entropy(names, name, reduction="none")
    painted = functional.cross_entropy(colors, color, reduction="none")
    found = functional.binary_cross_entropy_with_logits(middles[:, 0], middle, reduction="none")
    box_error = functional.smooth_l1_loss(edges, expected[:, 3:7], reduction="none", beta=0.02).sum(-1)
    ranked = functional.cross_entropy(ranks, rank, reduction="none")
    loss = mean(named + painted + found, known) + mean(named + painted + 4 * box_error + 0.2 * ranked, middle)
    right = mean(((names.argmax(-1) == name) & (colors.argmax(-1) == color)).float(), middle)
    return loss, right.detach()
