"""Random scenes: objects arranged on a background."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pocket.world.lexicon import COLORS, PLACES, SHAPES, ObjectKind
from pocket.world.objects import SceneObject, new_object
from pocket.world.render import RenderStyle, draw, is_visible_on, random_style

SMALLEST_RADIUS = 10.0
"""In pixels of the image that the model receives. Smaller stars look like dots."""
GAP = 2.0
ROW = 0.1
"""Objects whose centers differ by less than this share of the height form one row."""


@dataclass(frozen=True)
class Scene:
    size: tuple[int, int]
    """Width and height in pixels."""
    objects: tuple[SceneObject, ...]
    """In reading order: rows from the top, each from the left."""
    look: RenderStyle

    def image(self) -> Image.Image:
        return draw(self.size, self.objects, self.look)

    def matching(self, kind: ObjectKind) -> list[SceneObject]:
        return [obj for obj in self.objects if obj.matches(kind)]

    def at(self, place: str) -> list[SceneObject] | None:
        """Return the objects in a cell of a 3 × 3 grid, or None if the answer is ambiguous."""
        number = PLACES.index(place)
        column, row = number % 3, number // 3
        inside, near = [], []
        for obj in self.objects:
            across = 3 * obj.x / self.size[0] - column - 0.5
            down = 3 * obj.y / self.size[1] - row - 0.5
            distance = max(abs(across), abs(down))
            if distance < 0.36:
                inside.append(obj)
            elif distance < 0.7:
                near.append(obj)
        return None if near or len(inside) > 1 else inside


@dataclass(frozen=True)
class SceneSpec:
    """Bounds of a random scene."""

    least: int
    most: int
    varied: bool = True
    """All styles; otherwise plain shapes on plain backgrounds."""
    free: float = 0.5
    """Share of scenes whose objects are not arranged in rows."""
    shuffle: float = 0.3
    """Share of scenes in which near ties in reading order are broken at random, so that the model looks for what is
    missing in its list."""


def new_scene(rng: random.Random, size: tuple[int, int], spec: SceneSpec) -> Scene:
    look = random_style(rng, varied=spec.varied)
    count = rng.randint(spec.least, spec.most)
    placements = _scatter(rng, size, count) if rng.random() < spec.free else _arrange_in_rows(rng, size, count)
    colors = rng.sample(COLORS, rng.choice([1, 2, 3, 3, 4, 5, 8]))
    shapes = rng.sample(SHAPES, rng.choice([1, 2, 2, 3, 3, 4, 5]))
    objects = []
    for x, y, radius in placements:
        for _ in range(8):
            kind = ObjectKind(rng.choice(colors), rng.choice(shapes))
            obj = new_object(rng, kind, x, y, radius, varied=spec.varied)
            if is_visible_on(obj.rgb, look) and (obj.paint == "hollow" or is_visible_on(obj.second, look)):
                objects.append(obj)
                break
            if rng.random() < 0.3:
                colors = rng.sample(COLORS, 3)
    wobble = rng.uniform(0, 0.03) * size[1] if rng.random() < spec.shuffle else 0.0
    return Scene(size, tuple(reading_order(objects, size, rng, wobble)), look)


def reading_order(
    objects: Sequence[SceneObject], size: tuple[int, int], rng: random.Random | None = None, wobble: float = 0.0
) -> list[SceneObject]:
    """Sort objects by row from the top, then from the left.

    Args:
        wobble: standard deviation in pixels of an error of the heights.
    """
    heights = [obj.y + (rng.gauss(0, wobble) if rng and wobble else 0) for obj in objects]
    left = sorted(zip(heights, range(len(objects)), strict=True))
    ordered: list[SceneObject] = []
    while left:
        limit = left[0][0] + ROW * size[1]
        row = [number for height, number in left if height < limit]
        left = left[len(row) :]
        ordered += sorted((objects[number] for number in row), key=lambda obj: obj.x)
    return ordered


def _arrange_in_rows(rng: random.Random, size: tuple[int, int], count: int) -> list[tuple[float, float, float]]:
    """Return positions and radii on a grid with some empty cells."""
    width, height = size
    columns, rows = _grid(rng, width, height, count)
    cell = (width / columns, height / rows)
    widest = min(cell) / 2 - GAP
    if widest < SMALLEST_RADIUS:
        return _scatter(rng, size, count)
    spread = rng.choice([0.0, 0.0, 0.5, 1.0])
    same = rng.uniform(max(SMALLEST_RADIUS, 0.4 * widest), 0.95 * widest) if rng.random() < 0.5 else None
    placements = []
    for number in rng.sample(range(columns * rows), min(count, columns * rows)):
        radius = same or rng.uniform(max(SMALLEST_RADIUS, 0.4 * widest), 0.95 * widest)
        slack = spread * (widest - radius)
        x = (number % columns + 0.5) * cell[0] + rng.uniform(-slack, slack)
        y = (number // columns + 0.5) * cell[1] + rng.uniform(-slack, slack)
        placements.append((x, y, radius))
    return placements


def _grid(rng: random.Random, width: int, height: int, count: int) -> tuple[int, int]:
    """Return columns and rows of a grid with at least ``count`` cells."""
    columns, rows = rng.choice([(1, 1), (2, 2), (3, 3), (3, 2), (2, 3)])
    while columns * rows < count:
        if width / columns >= height / rows:
            columns += 1
        else:
            rows += 1
    return columns, rows


def _scatter(rng: random.Random, size: tuple[int, int], count: int) -> list[tuple[float, float, float]]:
    """Return positions and radii that do not overlap; fewer than ``count`` if there is no space."""
    width, height = size
    largest = min(0.42 * min(width, height), (0.42 * width * height / max(count, 1)) ** 0.5 * 0.75)
    smallest = max(SMALLEST_RADIUS, 0.3 * largest)
    alike = rng.uniform(smallest, max(smallest, largest)) if rng.random() < 0.4 else None
    placements: list[tuple[float, float, float]] = []
    for _ in range(count * 12):
        if len(placements) == count:
            break
        radius = alike or rng.uniform(smallest, max(smallest, largest))
        rim = 1.05 * radius
        if 2 * rim >= min(width, height):
            continue
        x, y = rng.uniform(rim, width - rim), rng.uniform(rim, height - rim)
        if all((x - a) ** 2 + (y - b) ** 2 > (1.12 * (radius + r) + GAP) ** 2 for a, b, r in placements):
            placements.append((x, y, radius))
    return placements
