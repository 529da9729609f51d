"""Generated training examples. The images of one batch have one size, so that they are encoded together."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pocket.tasks.aux_targets import SIDE
from pocket.tasks.chitchat import chitchat_example
from pocket.tasks.example import Example
from pocket.tasks.multi_image import among, compare
from pocket.tasks.pages import Fonts, pages
from pocket.tasks.scene_questions import follow_up_example, scene_example
from pocket.tasks.video import video_example
from pocket.world.lexicon import Language
from pocket.world.scenes import SceneSpec, new_scene

FULL = ((14, 10), (12, 12), (10, 14), (13, 10), (10, 13), (15, 9), (16, 9), (9, 16))
"""Width and height in tokens of images scaled down to the family's limit, for common aspect ratios."""
SMALL = ((6, 6), (8, 8), (8, 6), (6, 8), (10, 7), (7, 10), (4, 4), (10, 10))
SHEETS = ((10, 14), (10, 13), (14, 10), (16, 9), (7, 10))
THUMBNAILS = ((4, 4), (5, 5), (6, 6), (6, 4), (8, 6))
LARGER = ((8, 8), (10, 7), (12, 12))
SCREENS = ((4, 4), (6, 4), (6, 6), (8, 6), (8, 5), (11, 8))

WEIGHTS = {
    "count": 0.3, "exists": 0.14, "place": 0.09, "attribute": 0.09, "locate": 0.16, "show": 0.12, "describe": 0.1
}  # fmt: skip
"""Shares of the questions about a scene."""
KINDS = {
    "scene": 0.66, "follow-up": 0.06, "compare": 0.06, "among": 0.05, "pages": 0.09, "video": 0.07, "chitchat": 0.01
}  # fmt: skip
"""Shares of the kinds of examples."""


@dataclass(frozen=True)
class Curriculum:
    """What is trained at a point of the plan."""

    progress: float = 1.0
    """0: plain images of few objects; 1: everything."""
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    kinds: dict[str, float] = field(default_factory=lambda: dict(KINDS))


class SyntheticDataset:
    """An endless, seeded stream of examples."""

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
        fonts: for pages.
        only: kinds of examples to generate; empty means all.
        sizes: number of sizes to use of each list; None means all.
        shares: factors on the frequency of kinds and questions.
        """
        self._rng = random.Random(seed)
        self._fonts = fonts
        self._only = only
        self._sizes = sizes
        self._shares = shares or {}

    def next_examples(self, curriculum: Curriculum, size: int) -> list[Example]:
        """Return about ``size`` examples whose images have one size."""
        rng = self._rng
        curriculum = replace(curriculum, weights=self._shared(curriculum.weights), kinds=self._shared(curriculum.kinds))
        kinds = curriculum.kinds if curriculum.progress > 0.25 else {"scene": 1.0}
        if self._only:
            kinds = {kind: share for kind, share in kinds.items() if kind in self._only}
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        if kind in ("scene", "follow-up"):
            return self._scenes(curriculum, size, is_follow_up=kind == "follow-up")
        if kind == "chitchat":
            return [chitchat_example(rng, self._language()) for _ in range(size // 4)]
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
        return [video_example(rng, _pixels(grid), seconds, self._language()) for _ in range(size // 3)]

    def _scenes(self, curriculum: Curriculum, size: int, *, is_follow_up: bool) -> list[Example]:
        """Return two questions per image, because drawing takes longest."""
        rng = self._rng
        grids = SMALL if rng.random() < 0.5 or curriculum.progress < 0.3 else FULL
        grid = rng.choice(grids[: self._sizes])
        spec = spec_for(rng, grid, curriculum.progress)
        examples = []
        for _ in range(size // 2):
            scene = new_scene(rng, _pixels(grid), spec)
            image = scene.image()
            new_example = follow_up_example if is_follow_up else scene_example
            examples += [new_example(rng, scene, image, self._language(), curriculum.weights) for _ in range(2)]
        return examples

    def _shared(self, usual: Mapping[str, float]) -> dict[str, float]:
        return {name: share * self._shares.get(name, 1) for name, share in usual.items()}

    def _language(self) -> Language:
        return "en" if self._rng.random() < 0.55 else "zh"


def spec_for(rng: random.Random, grid: tuple[int, int], progress: float = 1.0) -> SceneSpec:
    """Return how many objects an image of a size in tokens may have."""
    room = min(16, grid[0] * grid[1] // 4)
    if progress < 0.2:
        return SceneSpec(1, min(room, 2 + int(20 * progress)), varied=False, free=0.3)
    most = min(room, 6 + int(12 * progress))
    least, most = rng.choice([(0, min(5, most)), (2, min(9, most)), (min(6, most - 1), most)])
    return SceneSpec(least, most, varied=rng.random() < progress + 0.2)


def _pixels(grid: tuple[int, int]) -> tuple[int, int]:
    return grid[0] * SIDE, grid[1] * SIDE
