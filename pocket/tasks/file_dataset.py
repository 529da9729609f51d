"""A training dataset read from a ``finetune.json`` file."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from engine.inputs.processor import Video
from families import FAMILIES
from pocket.tasks.data import BadExample, read
from pocket.tasks.example import Example
from pocket.tasks.synthetic_dataset import Curriculum

FAMILY = FAMILIES["pocket"]
Sizes = tuple[tuple[int, int], ...]


class FileDataset:
    """An endless, seeded stream of examples, all held in memory.

    Args:
        examples: images and frames are resized as the service does it.
    """

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self._rng = random.Random(seed)
        self._alike: dict[tuple[Sizes, Sizes], list[Example]] = {}
        for example in map(_scaled, examples):
            self._alike.setdefault(_sizes(example), []).append(example)

    @classmethod
    def of_file(cls, file: Path, seed: int) -> "FileDataset":
        """Read a file.

        Raises:
            BadExample: the file or one of its examples is invalid.
        """
        examples = list(read(file))
        if not examples:
            raise BadExample(f"{file} contains no example")
        return cls(examples, seed)

    def next_examples(self, _course: Curriculum, size: int) -> list[Example]:
        """Return at most ``size`` examples with equal number and size of images. All examples are equally frequent."""
        groups = list(self._alike.values())
        group = self._rng.choices(groups, [len(group) for group in groups])[0]
        return self._rng.sample(group, min(size, len(group)))


def _sizes(example: Example) -> tuple[Sizes, Sizes]:
    frames = [frame for video in example.videos for frame in video.frames]
    return tuple(image.size for image in example.images), tuple(frame.size for frame in frames)


def _scaled(example: Example) -> Example:
    images = [_to(image, FAMILY.images.fit(*image.size)) for image in example.images]
    videos = []
    for video in example.videos:
        size = FAMILY.videos.fit(len(video.frames), *video.frames[0].size)
        videos.append(Video([_to(frame, size) for frame in video.frames], video.seconds))
    return replace(example, images=images, videos=videos)


def _to(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
