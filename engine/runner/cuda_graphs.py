"""Decode passes as captured CUDA graphs: one launch instead of some four hundred.

A graph repeats its kernels with the arguments of the capture. Every number that a kernel depends on and that differs
between passes is therefore read from a tensor (lengths, places, tables). What is left, the number of rows, is the key.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch

from engine.runner.device import to_device

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""Rows of a graph; a batch is filled up to the next."""

Row = tuple[int, int, int, int]
Read = Callable[[torch.Tensor], torch.Tensor]


class DecodeGraphs:
    """Captures at once, for all buckets up to ``rows``.

    Args:
        read: a decode pass from ``[4, rows]``, int64, on the device to logits.
        filler: a row that may be read for nothing.
    """

    def __init__(self, read: Read, *, rows: int, filler: Row, device: torch.device) -> None:
        self._device = device
        self._filler = filler
        end = bisect_left(BUCKETS, rows) + 1
        self._buckets = BUCKETS[:end]
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}
        pool = torch.cuda.graph_pool_handle()
        # The largest first, so that the smaller ones find their memory in the pool.
        for size in reversed(self._buckets):
            self._graphs[size] = self._capture(read, size, pool)

    @property
    def largest(self) -> int:
        return self._buckets[-1]

    def run(self, rows: list[Row]) -> torch.Tensor:
        """Logits ``[rows, vocab_size]``; they stand until the next run."""
        size = self._buckets[bisect_left(self._buckets, len(rows))]
        graph, inputs, logits = self._graphs[size]
        inputs.copy_(to_device([*rows, *[self._filler] * (size - len(rows))], self._device).T)
        graph.replay()
        return logits[: len(rows)]

    @torch.inference_mode()
    def _capture(self, read: Read, size: int, pool: Any) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
        inputs = to_device([self._filler] * size, self._device).T.contiguous()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # kernels are compiled and libraries choose their algorithms outside of the capture
                read(inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = read(inputs)
        return graph, inputs, logits
