"""Batches: lessons as tensors, drawn and encoded by processes of their own."""

import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pocket.model import make_config
from pocket.tasks.aux_targets import SIDE, cells
from pocket.tasks.example import Example
from pocket.tasks.file_dataset import Given
from pocket.tasks.synthetic_dataset import Course, Lessons
from pocket.training.encoding import Encoder, pairs_of

LENGTHS, TARGETS = 128, 128
"""Steps of length, and of targets an example, while training: few shapes, since each is recorded."""
NOTHING = -100
"""A target that is none."""


@dataclass(frozen=True)
class Batch:
    """Places are those of ``ids`` laid out in one row."""

    frames: torch.Tensor
    """``[pairs, 1 or 2, height, width, 3]``, uint8: what is looked at, each once; one frame stands for two alike."""
    looks: torch.Tensor
    """``[examples, pairs of each]``, int64: which of them an example shows, in order."""
    spots: torch.Tensor
    """``[pairs, tokens, COLUMNS]``, float32: what is to be seen there (``pocket/tasks/aux_targets.py``)."""
    ids: torch.Tensor
    """``[examples, length]``, int64; shorter ones are filled up behind."""
    positions: torch.Tensor
    """``[3, examples, length]``, int64."""
    pictures: torch.Tensor
    """``[picture tokens]``, int64: their places."""
    before: torch.Tensor
    """``[tokens]``, int64: the places from which a token is to be foretold."""
    targets: torch.Tensor
    """``[tokens]``, int64: what is to be foretold."""
    rows: torch.Tensor
    """``[tokens]``, int64: the number of the example that each belongs to."""
    answering: torch.Tensor
    """``[tokens]``, bool: is it of the answer?"""
    skills: list[str]

    def pin_memory(self) -> "Batch":
        return self._with(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def tensors(self) -> list[torch.Tensor]:
        return [value for value in vars(self).values() if isinstance(value, torch.Tensor)]

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **tensors)  # type: ignore[arg-type]


def collate(
    examples: list[Example], encoder: Encoder, rng: random.Random | None = None, *, steps: tuple[int, int] = (1, 1)
) -> Batch:
    """Of examples whose pictures have one size and number.

    Args:
        rng: with it, some thoughts are cut short.
        steps: length and number of targets are filled up to multiples of these, so that few shapes occur.
    """
    encoded = [encoder.encode(example, rng) for example in examples]
    length = _up(max(len(item.ids) for item in encoded), steps[0])
    ids = np.full((len(examples), length), encoder.filler)
    positions = np.zeros((3, len(examples), length), dtype=np.int64)
    learned, answers = np.zeros((2, len(examples), length), dtype=bool)
    for row, item in enumerate(encoded):
        size = len(item.ids)
        ids[row, :size], positions[:, row, :size], learned[row, :size] = item.ids, item.positions, item.learned
        answers[row, item.answer_from : size] = True
    places = np.flatnonzero(learned)
    spare = _up(len(places), steps[1]) - len(places)
    frames, spots, looks = _looks(examples)
    return Batch(
        frames=torch.from_numpy(frames),
        spots=torch.from_numpy(spots),
        looks=torch.tensor(looks, dtype=torch.int64).view(len(examples), -1),
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        pictures=torch.from_numpy(np.flatnonzero(ids == encoder.image_id)),
        before=_filled(places - 1, spare, 0),
        targets=_filled(ids.reshape(-1)[places], spare, NOTHING),
        rows=_filled(places // length, spare, 0),
        answering=_filled(answers.reshape(-1)[places], spare, 0),
        skills=[example.skill for example in examples],
    )


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _filled(values: np.ndarray, spare: int, filler: int) -> torch.Tensor:
    return torch.from_numpy(np.pad(values, (0, spare), constant_values=filler))


def _looks(examples: list[Example]) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """All pairs of frames, each once, what is to be seen on them, and which of them each example shows."""
    numbers: dict[int, int] = {}
    shown: list[tuple[Any, Any]] = []
    looks: list[list[int]] = []
    told: list[np.ndarray] = []
    for example in examples:
        looks.append([])
        for place, pair in enumerate(pairs_of(example)):
            if id(pair[0]) not in numbers:
                numbers[id(pair[0])] = len(shown)
                shown.append(pair)
                told.append(cells(example.spots[place] if example.spots else None, *pair[0].size))
            looks[-1].append(numbers[id(pair[0])])
    if not shown:
        return np.zeros((0, 1, SIDE, SIDE, 3), dtype=np.uint8), cells(None, SIDE, SIDE)[None][:0], looks
    is_still = not examples[0].videos
    return np.stack([np.stack(pair[:1] if is_still else pair) for pair in shown]), np.stack(told), looks


class Endless(IterableDataset[Batch]):
    """Batches without end. ``progress`` is shared with the trainer, which moves it on."""

    def __init__(
        self, tokenizer: Any, lessons: Callable[[int], Lessons | Given], size: int, progress: "Synchronized[float]"
    ) -> None:
        """Args: ``lessons``: made from a number, another one for each process."""
        self._tokenizer, self._lessons, self._size, self._progress = tokenizer, lessons, size, progress

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        number = worker.id if worker else 0
        encoder = Encoder(self._tokenizer, make_config(self._tokenizer))
        lessons, rng = self._lessons(number), random.Random(number)
        while True:
            examples = lessons.next(Course(progress=self._progress.value), self._size)
            yield collate(examples, encoder, rng, steps=(LENGTHS, TARGETS * self._size))


class Supply:
    """New batches as they come, and while none has come, old ones once more: drawing is slower than learning.

    Args:
        keeps: how many old ones.
    """

    def __init__(self, endless: Endless, workers: int, *, pinned: bool, keeps: int) -> None:
        loader = DataLoader(
            endless, batch_size=None, num_workers=workers, pin_memory=pinned, prefetch_factor=4 if workers else None
        )
        self._coming: queue.Queue[Batch] = queue.Queue(maxsize=8)
        self._kept: deque[Batch] = deque(maxlen=max(keeps, 1))
        self._enough = keeps // 2
        self._rng = random.Random(0)
        self.new = self.old = 0
        threading.Thread(target=self._fetch, args=(iter(loader),), daemon=True).start()

    def next(self) -> Batch:
        if self._enough and len(self._kept) >= self._enough and self._coming.empty():
            self.old += 1
            return self._rng.choice(self._kept)
        batch = self._coming.get(timeout=300)
        self._kept.append(batch)
        self.new += 1
        return batch

    def _fetch(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            self._coming.put(batch)
