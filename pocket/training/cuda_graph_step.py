"""Runs training steps as captured CUDA graphs.

Launching about two thousand kernels took 65 ms of Python per step on an H100, whatever the batch; replaying a graph
takes only the time of the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pocket.training.batches import Batch
from pocket.training.training_step import LossModule, StepOutput

CHECKED = 4
TOLERANCE = 0.1
"""Largest relative difference of loss and gradients between a captured and an eager pass, both in bfloat16. Checked for
the first ``CHECKED`` graphs."""


@dataclass(frozen=True)
class _CapturedStep:
    graph: Any
    batch: Batch
    """Static input buffers of the graph."""
    output: StepOutput
    gradients: Sequence[torch.Tensor | None]


class GraphedStep:
    """Runs forward and backward over a batch and leaves the gradients at the parameters."""

    def __init__(self, loss_module: LossModule, *, captures: bool, bfloat16: bool = False) -> None:
        """Args:
        captures: capture CUDA graphs, on a GPU.
        bfloat16: use bfloat16 autocast on a CPU too.
        """
        self._learner = loss_module
        self._parameters = list(loss_module.parameters().values())
        self._is_cuda = loss_module.device.type == "cuda"
        self._bfloat16 = bfloat16 or self._is_cuda
        self._captures = captures and self._is_cuda
        self._captured: dict[tuple[torch.Size, ...], _CapturedStep] = {}
        self._pool: Any = torch.cuda.graph_pool_handle() if self._captures else None

    def __len__(self) -> int:
        """Return the number of captured graphs."""
        return len(self._captured)

    def run(self, batch: Batch) -> StepOutput:
        """Run ``LossModule.compute_loss`` and its backward pass. The output is valid until the next call."""
        key = tuple(tensor.shape for tensor in batch.tensors())
        captured = self._captured.get(key)
        if captured is None:
            batch = batch.to(self._learner.device)
            output, gradients = self._pass(batch)
            if self._captures and len(batch.frames):
                try:
                    self._captured[key] = self._capture(batch, output, gradients)
                except torch.OutOfMemoryError:
                    self._captures = False
        else:
            for held, new in zip(captured.batch.tensors(), batch.tensors(), strict=True):
                held.copy_(new, non_blocking=True)
            captured.graph.replay()
            output, gradients = captured.output, captured.gradients
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return output

    def _pass(self, batch: Batch) -> tuple[StepOutput, Sequence[torch.Tensor | None]]:
        # No cache of casts: it would outlive the capture.
        with torch.autocast(self._learner.device.type, torch.bfloat16, enabled=self._bfloat16, cache_enabled=False):
            output = self._learner.compute_loss(batch)
        gradients = torch.autograd.grad(output.loss, self._parameters, allow_unused=True)
        # Detached, because a graph that refers to the stream of an eager pass must be gone before the next capture. The
        # fused optimizer needs gradients with the layout of the parameters.
        return replace(output, loss=output.loss.detach()), [
            None if slope is None else slope.float().contiguous() for slope in gradients
        ]

    def _capture(self, batch: Batch, output: StepOutput, gradients: Sequence[torch.Tensor | None]) -> _CapturedStep:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Other threads pin memory during the capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            recorded = self._pass(batch)
        captured = _CapturedStep(graph, batch, *recorded)
        if len(self._captured) < CHECKED:
            graph.replay()
            self._check(captured, output.loss, gradients)
        return captured

    def _check(self, captured: _CapturedStep, loss: torch.Tensor, gradients: Sequence[torch.Tensor | None]) -> None:
        ours = torch.cat([gradient.flatten() for gradient in captured.gradients if gradient is not None])
        plain = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
        apart = float((captured.output.loss - loss).abs() / loss), float((ours - plain).norm() / plain.norm())
        if not max(apart) < TOLERANCE:
            raise RuntimeError(
                f"a captured step differs from an eager one: {apart[0]:.4f} in the loss, {apart[1]:.4f} in the gradient"
            )
