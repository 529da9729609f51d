"""Boxes are drawn in the right place, into images of any size."""

import io

import numpy as np
import pytest
from PIL import Image

from worker.generate.annotate import draw_boxes


def drawn(size: tuple[int, int], *boxes: tuple[tuple[float, ...], str | None]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw_boxes(Image.new("RGB", size, "white"), boxes))))


def test_box_is_drawn_at_its_coordinates() -> None:
    pixels = drawn((400, 200), ((250, 500, 750, 900), "cat"))
    assert pixels.shape == (200, 400, 3)
    for y, x in ((100, 200), (179, 200), (150, 100), (150, 300)):
        assert pixels[y - 2 : y + 3, x - 2 : x + 3].min() < 200, (x, y)
    assert (pixels[130:170, 130:270] == 255).all(), "the inside of the box is unchanged"


@pytest.mark.parametrize("size", [(28, 28), (4_000, 30), (30, 3_000)])
def test_every_image_size_and_label_can_be_drawn(size: tuple[int, int]) -> None:
    labels = (None, "", "图 eins\nzwei", "x" * 500, "🐈")
    pixels = drawn(size, *(((0, 0, 1000, 1000), label) for label in labels))
    assert pixels.shape[:2] == size[::-1]
