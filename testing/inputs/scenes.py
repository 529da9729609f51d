"""Scenes of the pocket model's world that several tests use."""

import random

from pocket.world.lexicon import ObjectKind
from pocket.world.objects import new_object
from pocket.world.render import PLAIN
from pocket.world.scenes import Scene, reading_order

SIZE = (336, 224)
"""Width and height in pixels."""


def plain_scene(*objects: tuple[str, str, float, float]) -> Scene:
    """Return a plain scene of (color, shape, x, y)."""
    kinds = [(ObjectKind(color, shape), x, y) for color, shape, x, y in objects]
    drawn = [new_object(random.Random(0), kind, x, y, 24, varied=False) for kind, x, y in kinds]
    return Scene(SIZE, tuple(reading_order(drawn, SIZE)), PLAIN)


THREE_OBJECTS = plain_scene(("red", "circle", 280, 40), ("blue", "star", 50, 44), ("red", "square", 60, 180))
