"""Scenes: things laid out on a ground, endless, each from its seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pocket.world.lexicon import COLORS, PLACES, SHAPES, Kind
from pocket.world.objects import Thing, new_thing
from pocket.world.render import Look, draw, new_look, stands_out

SMALLEST_RADIUS = 10.0
"""Pixels as the model sees them: below that a star is a dot."""
GAP = 2.0
ROW = 0.1
"""Things whose middles lie within this share of the height stand in one row."""


@dataclass(frozen=True)
class Scene:
    size: tuple[int, int]
    """Width and height in pixels, as the model sees them."""
    things: tuple[Thing, ...]
    """In reading order: rows from the top, each from the left."""
    look: Look

    def picture(self) -> Image.Image:
        return draw(self.size, self.things, self.look)

    def matching(self, kind: Kind) -> list[Thing]:
        return [thing for thing in self.things if thing.matches(kind)]

    def at(self, place: str) -> list[Thing] | None:
        """What stands in this cell of a 3 × 3 grid; None where it cannot be told by eye."""
        number = PLACES.index(place)
        column, row = number % 3, number // 3
        inside, near = [], []
        for thing in self.things:
            across = 3 * thing.x / self.size[0] - column - 0.5
            down = 3 * thing.y / self.size[1] - row - 0.5
            distance = max(abs(across), abs(down))
            if distance < 0.36:
                inside.append(thing)
            elif distance < 0.7:
                near.append(thing)
        return None if near or len(inside) > 1 else inside


@dataclass(frozen=True)
class Crowd:
    """What a scene may hold."""

    least: int
    most: int
    wild: bool = True
    """All looks; otherwise plain shapes on plain grounds."""
    free: float = 0.5
    """Share of scenes whose things do not stand in rows."""
    shuffle: float = 0.3
    """Share of scenes whose near ties in reading order go either way: a model is to look for what it has not told."""


def new_scene(rng: random.Random, size: tuple[int, int], crowd: Crowd) -> Scene:
    look = new_look(rng, wild=crowd.wild)
    count = rng.randint(crowd.least, crowd.most)
    spots = _scattered(rng, size, count) if rng.random() < crowd.free else _in_rows(rng, size, count)
    colors = rng.sample(COLORS, rng.choice([1, 2, 3, 3, 4, 5, 8]))
    shapes = rng.sample(SHAPES, rng.choice([1, 2, 2, 3, 3, 4, 5]))
    things = []
    for x, y, radius in spots:
        for _ in range(8):
            kind = Kind(rng.choice(colors), rng.choice(shapes))
            thing = new_thing(rng, kind, x, y, radius, wild=crowd.wild)
            if stands_out(thing.rgb, look) and (thing.paint == "hollow" or stands_out(thing.second, look)):
                things.append(thing)
                break
            if rng.random() < 0.3:
                colors = rng.sample(COLORS, 3)
    wobble = rng.uniform(0, 0.03) * size[1] if rng.random() < crowd.shuffle else 0.0
    return Scene(size, tuple(in_reading_order(things, size, rng, wobble)), look)


def in_reading_order(
    things: Sequence[Thing], size: tuple[int, int], rng: random.Random | None = None, wobble: float = 0.0
) -> list[Thing]:
    """Rows from the top, each from the left; ``wobble``: pixels by which heights are misjudged."""
    heights = [thing.y + (rng.gauss(0, wobble) if rng and wobble else 0) for thing in things]
    left = sorted(zip(heights, range(len(things)), strict=True))
    ordered: list[Thing] = []
    while left:
        limit = left[0][0] + ROW * size[1]
        row = [number for height, number in left if height < limit]
        left = left[len(row) :]
        ordered += sorted((things[number] for number in row), key=lambda thing: thing.x)
    return ordered


def _in_rows(rng: random.Random, size: tuple[int, int], count: int) -> list[tuple[float, float, float]]:
    """Places and radii on a grid with some of its cells empty."""
    width, height = size
    columns, rows = _grid(rng, width, height, count)
    cell = (width / columns, height / rows)
    widest = min(cell) / 2 - GAP
    if widest < SMALLEST_RADIUS:
        return _scattered(rng, size, count)
    spread = rng.choice([0.0, 0.0, 0.5, 1.0])
    same = rng.uniform(max(SMALLEST_RADIUS, 0.4 * widest), 0.95 * widest) if rng.random() < 0.5 else None
    spots = []
    for number in rng.sample(range(columns * rows), min(count, columns * rows)):
        radius = same or rng.uniform(max(SMALLEST_RADIUS, 0.4 * widest), 0.95 * widest)
        slack = spread * (widest - radius)
        x = (number % columns + 0.5) * cell[0] + rng.uniform(-slack, slack)
        y = (number // columns + 0.5) * cell[1] + rng.uniform(-slack, slack)
        spots.append((x, y, radius))
    return spots


def _grid(rng: random.Random, width: int, height: int, count: int) -> tuple[int, int]:
    """Columns and rows with room for so many."""
    columns, rows = rng.choice([(1, 1), (2, 2), (3, 3), (3, 2), (2, 3)])
    while columns * rows < count:
        if width / columns >= height / rows:
            columns += 1
        else:
            rows += 1
    return columns, rows


def _scattered(rng: random.Random, size: tuple[int, int], count: int) -> list[tuple[float, float, float]]:
    """Places and radii that do not touch; fewer where there is no room."""
    width, height = size
    largest = min(0.42 * min(width, height), (0.42 * width * height / max(count, 1)) ** 0.5 * 0.75)
    smallest = max(SMALLEST_RADIUS, 0.3 * largest)
    alike = rng.uniform(smallest, max(smallest, largest)) if rng.random() < 0.4 else None
    spots: list[tuple[float, float, float]] = []
    for _ in range(count * 12):
        if len(spots) == count:
            break
        radius = alike or rng.uniform(smallest, max(smallest, largest))
        rim = 1.05 * radius
        if 2 * rim >= min(width, height):
            continue
        x, y = rng.uniform(rim, width - rim), rng.uniform(rim, height - rim)
        if all((x - a) ** 2 + (y - b) ** 2 > (1.12 * (radius + r) + GAP) ** 2 for a, b, r in spots):
            spots.append((x, y, radius))
    return spots
