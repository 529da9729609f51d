"""Scenes from another hand show what they say they show."""

import random

import numpy as np

from pocket.world.render_svg import redrawn
from tests.unit.pocket.test_scenes import SIZE, THREE, scene_of


def test_a_thing_lies_where_it_is_said_to_lie_in_its_colour(librsvg: None) -> None:
    for seed in range(6):
        scene, picture = redrawn(random.Random(seed), THREE)
        assert picture.size == SIZE
        pixels = np.asarray(picture).astype(int)
        for thing in scene.things:
            assert pixels[round(thing.y), round(thing.x)].tolist() == list(thing.rgb)
            painted = (np.abs(pixels - thing.rgb).sum(axis=2) < 12).nonzero()
            near = [
                (x, y)
                for y, x in zip(*painted, strict=True)
                if abs(x - thing.x) < 1.2 * thing.radius and abs(y - thing.y) < 1.2 * thing.radius
            ]
            xs, ys = zip(*near, strict=True)
            drawn = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
            assert np.allclose(drawn, thing.box, atol=4)


def test_what_the_ground_swallows_is_not_told(librsvg: None) -> None:
    """Black on dark grey."""
    black = scene_of(("black", "circle", 100, 100), ("red", "star", 200, 60))
    told = {len(redrawn(random.Random(seed), black)[0].things) for seed in range(40)}
    assert told == {1, 2}
