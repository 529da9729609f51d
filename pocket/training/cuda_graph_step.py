"""Passes recorded as CUDA graphs. Starting some two thousand kernels one by one took 65 ms of Python a step on an H100,
whatever the batch; replaying a recording takes what the kernels take.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pocket.training.batches import Batch
from pocket.training.training_step import Judged, Learner

CHECKED = 4
TOLERANCE = 0.1
"""Of the first recordings' lost_leases and gradients against a plain pass: both are in bfloat16."""


@dataclass(frozen=True)
class _Recording:
    graph: Any
    batch: Batch
    """Where a replay finds its input."""
    judged: Judged
    gradients: Sequence[torch.Tensor | None]


class Passes:
    """Forward and back over a batch; gradients are left at the parameters."""

    def __init__(self, learner: Learner, *, records: bool, halves: bool = False) -> None:
        """Args: ``halves``: products in bfloat16 on a CPU too."""
        self._learner = learner
        self._parameters = list(learner.parameters().values())
        self._is_cuda = learner.device.type == "cuda"
        self._halves = halves or self._is_cuda
        self._records = records and self._is_cuda
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        self._pool: Any = torch.cuda.graph_pool_handle() if self._records else None

    def __len__(self) -> int:
        """Recordings."""
        return len(self._recordings)

    def run(self, batch: Batch) -> Judged:
        """As ``Learner.judge``; valid until the next run."""
        key = tuple(tensor.shape for tensor in batch.tensors())
        recording = self._recordings.get(key)
        if recording is None:
            batch = batch.to(self._learner.device)
            judged, gradients = self._pass(batch)
            if self._records and len(batch.frames):
                try:
                    self._recordings[key] = self._record(batch, judged, gradients)
                except torch.OutOfMemoryError:
                    self._records = False
        else:
            for held, new in zip(recording.batch.tensors(), batch.tensors(), strict=True):
                held.copy_(new, non_blocking=True)
            recording.graph.replay()
            judged, gradients = recording.judged, recording.gradients
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return judged

    def _pass(self, batch: Batch) -> tuple[Judged, Sequence[torch.Tensor | None]]:
        # Without a cache of casts: it would outlive a recording.
        with torch.autocast(self._learner.device.type, torch.bfloat16, enabled=self._halves, cache_enabled=False):
            judged = self._learner.judge(batch)
        gradients = torch.autograd.grad(judged.loss, self._parameters, allow_unused=True)
        # Detached: what remembers the stream of a plain pass must be gone before another is recorded. And the fused
        # optimizer wants slopes laid out as the parameters are.
        return replace(judged, loss=judged.loss.detach()), [
            None if slope is None else slope.float().contiguous() for slope in gradients
        ]

    def _record(self, batch: Batch, judged: Judged, gradients: Sequence[torch.Tensor | None]) -> _Recording:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Other threads pin memory meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            recorded = self._pass(batch)
        recording = _Recording(graph, batch, *recorded)
        if len(self._recordings) < CHECKED:
            graph.replay()
            self._check(recording, judged.loss, gradients)
        return recording

    def _check(self, recording: _Recording, loss: torch.Tensor, gradients: Sequence[torch.Tensor | None]) -> None:
        ours = torch.cat([gradient.flatten() for gradient in recording.gradients if gradient is not None])
        plain = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
        apart = float((recording.judged.loss - loss).abs() / loss), float((ours - plain).norm() / plain.norm())
        if not max(apart) < TOLERANCE:
            raise RuntimeError(
                f"a recorded pass differs from a plain one: {apart[0]:.4f} in loss, {apart[1]:.4f} in slope"
            )
