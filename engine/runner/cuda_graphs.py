"""Decode passes as captured CUDA graphs: one launch instead of about four hundred.

A graph repeats its kernels with the arguments of the capture. Every number that a kernel depends on and that differs
between passes is therefore read from a tensor (lengths, cache positions, block tables). The number of rows remains; it
selects the graph.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch

from engine.runner.device import to_device

CAPTURE_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""Rows of the captured graphs; a batch is padded to the next size."""

Row = tuple[int, int, int, int]
"""Token id, slot, token number in the sequence, M-RoPE position."""
Forward = Callable[[torch.Tensor], torch.Tensor]


class DecodeGraphs:
    """Captures graphs at construction, for all sizes up to the first that holds ``rows``.

    Args:
        forward: a decode pass from ``[4, rows]``, int64, on the device to logits.
        rows: largest batch.
        padding: a row whose computation has no effect.
    """

    def __init__(self, forward: Forward, *, rows: int, padding: Row, device: torch.device) -> None:
        self._device = device
        self._padding = padding
        self._sizes = CAPTURE_SIZES[: bisect_left(CAPTURE_SIZES, rows) + 1]
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}
        pool = torch.cuda.graph_pool_handle()
        # Largest first: the smaller graphs reuse its memory from the pool.
        for size in reversed(self._sizes):
            self._graphs[size] = self._capture(forward, size, pool)

    @property
    def max_rows(self) -> int:
        return self._sizes[-1]

    def run(self, rows: list[Row]) -> torch.Tensor:
        """Return logits ``[rows, vocab_size]``, valid until the next run."""
        size = self._sizes[bisect_left(self._sizes, len(rows))]
        graph, inputs, logits = self._graphs[size]
        inputs.copy_(to_device([*rows, *[self._padding] * (size - len(rows))], self._device).T)
        graph.replay()
        return logits[: len(rows)]

    @torch.inference_mode()
    def _capture(
        self, forward: Forward, size: int, pool: Any
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
        inputs = to_device([self._padding] * size, self._device).T.contiguous()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # kernels are compiled and libraries choose their algorithms outside of the capture
                forward(inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = forward(inputs)
        return graph, inputs, logits
