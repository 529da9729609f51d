"""Lessons: examples whose pictures have one size, so that they can be looked at together."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pocket.tasks.aux_targets import SIDE
from pocket.tasks.chitchat import talk
from pocket.tasks.example import Example
from pocket.tasks.pages import Fonts, pages
from pocket.tasks.pictures import among, compare
from pocket.tasks.scene_questions import example, follow_up
from pocket.tasks.video import film
from pocket.world.lexicon import Language
from pocket.world.scenes import Crowd, new_scene

FULL = ((14, 10), (12, 12), (10, 14), (13, 10), (10, 13), (15, 9), (16, 9), (9, 16))
"""Width and height in tokens of pictures that were scaled down to the family's bound, by common aspects."""
SMALL = ((6, 6), (8, 8), (8, 6), (6, 8), (10, 7), (7, 10), (4, 4), (10, 10))
SHEETS = ((10, 14), (10, 13), (14, 10), (16, 9), (7, 10))
THUMBNAILS = ((4, 4), (5, 5), (6, 6), (6, 4), (8, 6))
LARGER = ((8, 8), (10, 7), (12, 12))
SCREENS = ((4, 4), (6, 4), (6, 6), (8, 6), (8, 5), (11, 8))

WEIGHTS = {
    "count": 0.3, "exists": 0.14, "place": 0.09, "attribute": 0.09, "locate": 0.16, "show": 0.12, "describe": 0.1
}  # fmt: skip
"""Shares of questions about a scene."""
KINDS = {
    "scene": 0.66, "follow-up": 0.06, "compare": 0.06, "among": 0.05, "pages": 0.09, "film": 0.07, "talk": 0.01
}  # fmt: skip
"""Shares of lessons."""


@dataclass(frozen=True)
class Course:
    """What is taught now."""

    progress: float = 1.0
    """0: plain pictures of few things; 1: all."""
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    kinds: dict[str, float] = field(default_factory=lambda: dict(KINDS))


class Lessons:
    """Endless, from a seed."""

    def __init__(
        self,
        seed: int,
        fonts: Fonts,
        *,
        only: Sequence[str] = (),
        sizes: int | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """Args:
        only: these kinds of lessons.
        sizes: the first so many of each list of sizes.
        shares: how many times as often as else a kind of lesson or question comes.
        """
        self._rng = random.Random(seed)
        self._fonts = fonts
        self._only = only
        self._sizes = sizes
        self._shares = shares or {}

    def next(self, course: Course, size: int) -> list[Example]:
        """About so many examples."""
        rng = self._rng
        course = replace(course, weights=self._shared(course.weights), kinds=self._shared(course.kinds))
        kinds = course.kinds if course.progress > 0.25 else {"scene": 1.0}
        if self._only:
            kinds = {kind: share for kind, share in kinds.items() if kind in self._only}
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        if kind in ("scene", "follow-up"):
            return self._scenes(course, size, is_follow_up=kind == "follow-up")
        if kind == "talk":
            return [talk(rng, self._language()) for _ in range(size // 4)]
        if kind == "compare":
            grid = rng.choice(THUMBNAILS + LARGER)
            return [compare(rng, [_pixels(grid)] * 2, self._language()) for _ in range(size // 2)]
        if kind == "among":
            grid, count = rng.choice(THUMBNAILS), rng.choice([2, 3, 5])
            return [among(rng, [_pixels(grid)] * count, self._language()) for _ in range(size // 2)]
        if kind == "pages":
            grid, count = rng.choice(SHEETS), rng.choice([1, 2, 2, 4])
            return [pages(rng, [_pixels(grid)] * count, self._language(), self._fonts) for _ in range(size // count)]
        grid, seconds = rng.choice(SCREENS), rng.choice([2, 3, 4, 6])
        return [film(rng, _pixels(grid), seconds, self._language()) for _ in range(size // 3)]

    def _scenes(self, course: Course, size: int, *, is_follow_up: bool) -> list[Example]:
        """Two questions about each picture: drawing takes longest."""
        rng = self._rng
        grids = SMALL if rng.random() < 0.5 or course.progress < 0.3 else FULL
        grid = rng.choice(grids[: self._sizes])
        crowd = crowd_for(rng, grid, course.progress)
        lesson = []
        for _ in range(size // 2):
            scene = new_scene(rng, _pixels(grid), crowd)
            picture = scene.picture()
            ask = follow_up if is_follow_up else example
            lesson += [ask(rng, scene, picture, self._language(), course.weights) for _ in range(2)]
        return lesson

    def _shared(self, usual: Mapping[str, float]) -> dict[str, float]:
        return {name: share * self._shares.get(name, 1) for name, share in usual.items()}

    def _language(self) -> Language:
        return "en" if self._rng.random() < 0.55 else "zh"


def crowd_for(rng: random.Random, grid: tuple[int, int], progress: float = 1.0) -> Crowd:
    """How full a picture of so many tokens may be."""
    room = min(16, grid[0] * grid[1] // 4)
    if progress < 0.2:
        return Crowd(1, min(room, 2 + int(20 * progress)), wild=False, free=0.3)
    most = min(room, 6 + int(12 * progress))
    least, most = rng.choice([(0, min(5, most)), (2, min(9, most)), (min(6, most - 1), most)])
    return Crowd(least, most, wild=rng.random() < progress + 0.2)


def _pixels(grid: tuple[int, int]) -> tuple[int, int]:
    return grid[0] * SIDE, grid[1] * SIDE
