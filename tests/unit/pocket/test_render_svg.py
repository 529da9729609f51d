"""SVG scenes show the objects that they list."""

import random

import numpy as np

from pocket.world.render_svg import redraw_as_svg
from testing.inputs.scenes import SIZE, THREE_OBJECTS, plain_scene


def test_an_object_is_drawn_at_its_position_in_its_color(librsvg: None) -> None:
    for seed in range(6):
        scene, image = redraw_as_svg(random.Random(seed), THREE_OBJECTS)
        assert image.size == SIZE
        pixels = np.asarray(image).astype(int)
        for obj in scene.objects:
            assert pixels[round(obj.y), round(obj.x)].tolist() == list(obj.rgb)
            painted = (np.abs(pixels - obj.rgb).sum(axis=2) < 12).nonzero()
            near = [
                (x, y)
                for y, x in zip(*painted, strict=True)
                if abs(x - obj.x) < 1.2 * obj.radius and abs(y - obj.y) < 1.2 * obj.radius
            ]
            xs, ys = zip(*near, strict=True)
            drawn = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
            assert np.allclose(drawn, obj.box, atol=4)


def test_an_object_without_contrast_is_removed(librsvg: None) -> None:
    """Black on dark gray."""
    black = plain_scene(("black", "circle", 100, 100), ("red", "star", 200, 60))
    counts = {len(redraw_as_svg(random.Random(seed), black)[0].objects) for seed in range(40)}
    assert counts == {1, 2}
