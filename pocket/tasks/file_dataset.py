"""Lessons out of a file: a ``finetune.json`` in place of scenes that are drawn."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from engine.inputs.processor import Video
from families import FAMILIES
from pocket.tasks.data import BadExample, read
from pocket.tasks.example import Example
from pocket.tasks.synthetic_dataset import Course

FAMILY = FAMILIES["pocket"]
Sizes = tuple[tuple[int, int], ...]


class Given:
    """Endless, from a seed; all examples lie in memory.

    Args:
        examples: pictures and frames are scaled as the service scales them.
    """

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self._rng = random.Random(seed)
        self._alike: dict[tuple[Sizes, Sizes], list[Example]] = {}
        for example in map(_scaled, examples):
            self._alike.setdefault(_sizes(example), []).append(example)

    @classmethod
    def of_file(cls, file: Path, seed: int) -> "Given":
        """Raises: BadExample"""
        examples = list(read(file))
        if not examples:
            raise BadExample(f"{file} holds no example")
        return cls(examples, seed)

    def next(self, _course: Course, size: int) -> list[Example]:
        """At most so many, whose pictures have one number and size; each example comes equally often."""
        groups = list(self._alike.values())
        group = self._rng.choices(groups, [len(group) for group in groups])[0]
        return self._rng.sample(group, min(size, len(group)))


def _sizes(example: Example) -> tuple[Sizes, Sizes]:
    frames = [frame for video in example.videos for frame in video.frames]
    return tuple(picture.size for picture in example.pictures), tuple(frame.size for frame in frames)


def _scaled(example: Example) -> Example:
    pictures = [_to(picture, FAMILY.images.fit(*picture.size)) for picture in example.pictures]
    videos = []
    for video in example.videos:
        size = FAMILY.videos.fit(len(video.frames), *video.frames[0].size)
        videos.append(Video([_to(frame, size) for frame in video.frames], video.seconds))
    return replace(example, pictures=pictures, videos=videos)


def _to(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)
