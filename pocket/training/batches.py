"""Batches of examples as tensors, drawn and encoded by worker processes."""

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
from pocket.tasks.aux_targets import SIDE, encode_cells
from pocket.tasks.example import Example
from pocket.tasks.file_dataset import FileDataset
from pocket.tasks.synthetic_dataset import Curriculum, SyntheticDataset
from pocket.training.encoding import Encoder, frame_pairs

LENGTH_STEP, TARGET_STEP = 128, 128
"""Sequence lengths, and numbers of targets per example, are rounded up to multiples of these, because each shape is
captured as a CUDA graph."""
IGNORE_INDEX = -100
"""Marks padding among the targets."""


@dataclass(frozen=True)
class Batch:
    """Positions refer to ``ids`` flattened to one row."""

    frames: torch.Tensor
    """``[pairs, 1 or 2, height, width, 3]``, uint8: distinct frame pairs; a single frame stands for two equal ones."""
    pair_index: torch.Tensor
    """``[examples, pairs per example]``, int64: indices into ``frames``, in order."""
    aux_targets: torch.Tensor
    """``[pairs, tokens, TARGET_COLUMNS]``, float32 (see ``pocket/tasks/aux_targets.py``)."""
    ids: torch.Tensor
    """``[examples, length]``, int64, right-padded."""
    positions: torch.Tensor
    """``[3, examples, length]``, int64."""
    images: torch.Tensor
    """``[image tokens]``, int64: positions of the image tokens."""
    source_positions: torch.Tensor
    """``[tokens]``, int64: positions from which the targets are predicted."""
    targets: torch.Tensor
    """``[tokens]``, int64: tokens to predict."""
    example_index: torch.Tensor
    """``[tokens]``, int64: index of the example of each target."""
    is_answer: torch.Tensor
    """``[tokens]``, bool: whether the target belongs to the answer."""
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
    """Collate examples whose images have the same size and number.

    Args:
        rng: truncates some thoughts; None truncates none.
        steps: length and number of targets are padded to multiples of these.
    """
    encoded = [encoder.encode(example, rng) for example in examples]
    length = _up(max(len(item.ids) for item in encoded), steps[0])
    ids = np.full((len(examples), length), encoder.filler)
    positions = np.zeros((3, len(examples), length), dtype=np.int64)
    learned, answers = np.zeros((2, len(examples), length), dtype=bool)
    for row, item in enumerate(encoded):
        size = len(item.ids)
        ids[row, :size], positions[:, row, :size], learned[row, :size] = item.ids, item.positions, item.is_target
        answers[row, item.answer_from : size] = True
    places = np.flatnonzero(learned)
    spare = _up(len(places), steps[1]) - len(places)
    frames, aux_targets, pair_index = _looks(examples)
    return Batch(
        frames=torch.from_numpy(frames),
        aux_targets=torch.from_numpy(aux_targets),
        pair_index=torch.tensor(pair_index, dtype=torch.int64).view(len(examples), -1),
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        images=torch.from_numpy(np.flatnonzero(ids == encoder.image_id)),
        source_positions=_filled(places - 1, spare, 0),
        targets=_filled(ids.reshape(-1)[places], spare, IGNORE_INDEX),
        example_index=_filled(places // length, spare, 0),
        is_answer=_filled(answers.reshape(-1)[places], spare, 0),
        skills=[example.skill for example in examples],
    )


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _filled(values: np.ndarray, spare: int, filler: int) -> torch.Tensor:
    return torch.from_numpy(np.pad(values, (0, spare), constant_values=filler))


def _looks(examples: list[Example]) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Return the distinct frame pairs, their auxiliary targets, and the pairs of each example."""
    numbers: dict[int, int] = {}
    shown: list[tuple[Any, Any]] = []
    pair_index: list[list[int]] = []
    targets: list[np.ndarray] = []
    for example in examples:
        pair_index.append([])
        for place, pair in enumerate(frame_pairs(example)):
            if id(pair[0]) not in numbers:
                numbers[id(pair[0])] = len(shown)
                shown.append(pair)
                targets.append(encode_cells(example.aux_targets[place] if example.aux_targets else None, *pair[0].size))
            pair_index[-1].append(numbers[id(pair[0])])
    if not shown:
        return np.zeros((0, 1, SIDE, SIDE, 3), dtype=np.uint8), encode_cells(None, SIDE, SIDE)[None][:0], pair_index
    is_still = not examples[0].videos
    return (
        np.stack([np.stack(pair[:1] if is_still else pair) for pair in shown]),
        np.stack(targets),
        pair_index,
    )


class ExampleStream(IterableDataset[Batch]):
    """An endless stream of batches. The trainer updates ``progress``, which is shared memory."""

    def __init__(
        self,
        tokenizer: Any,
        dataset: Callable[[int], SyntheticDataset | FileDataset],
        size: int,
        progress: "Synchronized[float]",
    ) -> None:
        """Args:
        dataset: called with the worker's number; returns its dataset.
        size: examples per batch.
        """
        self._tokenizer, self._dataset, self._size, self._progress = tokenizer, dataset, size, progress

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        number = worker.id if worker else 0
        encoder = Encoder(self._tokenizer, make_config(self._tokenizer))
        dataset, rng = self._dataset(number), random.Random(number)
        while True:
            examples = dataset.next_examples(Curriculum(progress=self._progress.value), self._size)
            yield collate(examples, encoder, rng, steps=(LENGTH_STEP, TARGET_STEP * self._size))


class BatchLoader:
    """Returns new batches, and repeats old ones while no new one is ready, because drawing is slower than training.

    Args:
        replay: number of old batches to keep.
    """

    def __init__(self, stream: ExampleStream, workers: int, *, pinned: bool, replay: int) -> None:
        loader = DataLoader(
            stream, batch_size=None, num_workers=workers, pin_memory=pinned, prefetch_factor=4 if workers else None
        )
        self._coming: queue.Queue[Batch] = queue.Queue(maxsize=8)
        self._replay: deque[Batch] = deque(maxlen=max(replay, 1))
        self._enough = replay // 2
        self._rng = random.Random(0)
        self.new = self.old = 0
        threading.Thread(target=self._fetch, args=(iter(loader),), daemon=True).start()

    def next(self) -> Batch:
        if self._enough and len(self._replay) >= self._enough and self._coming.empty():
            self.old += 1
            return self._rng.choice(self._replay)
        batch = self._coming.get(timeout=300)
        self._replay.append(batch)
        self.new += 1
        return batch

    def _fetch(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            self._coming.put(batch)
