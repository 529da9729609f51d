"""The text model's steps on a CUDA device: our decode kernels, and for prompts the flash attention that torch ships."""

import inspect
import math
from typing import Any

import torch
import triton
from torch.nn.attention.varlen import varlen_attn

from engine.core.block_pool import BLOCK_SIZE
from engine.runner import kernels
from engine.runner.kv_cache import AttentionShape
from engine.runner.torch_ops import Chunk, Rows, TorchOps

PROGRAMS_PER_CORE = 4
MAX_SPLITS = 64
SMALLEST_DOT = 16
"""Rows that Triton's matrix product has at least."""


class CudaOps(TorchOps):
    """As TorchOps, which is what the tests hold it against."""

    name = "triton"
    is_capturable = True

    def __init__(self, shape: AttentionShape) -> None:
        self._shape = shape
        self._cores = torch.cuda.get_device_properties().multi_processor_count
        self._grouped = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}

    def norm(self, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        out = torch.empty_like(hidden)
        rows, width = hidden.shape
        padded = triton.next_power_of_2(width)
        kernels.norm_kernel[(rows,)](hidden, weight, out, eps, width, padded, num_warps=_warps(padded))
        return out

    def norm_add_norm(
        self, residual: torch.Tensor, added: torch.Tensor, inner: torch.Tensor, outer: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new_residual, out = torch.empty_like(residual), torch.empty_like(residual)
        rows, width = residual.shape
        padded = triton.next_power_of_2(width)
        kernels.norm_add_norm_kernel[(rows,)](
            residual, added, inner, outer, new_residual, out, eps, width, padded, num_warps=_warps(padded)
        )
        return new_residual, out

    def gate(self, gate_and_up: torch.Tensor) -> torch.Tensor:
        rows, width = len(gate_and_up), gate_and_up.shape[1] // 2
        out = gate_and_up.new_empty((rows, width))
        block = 1_024
        kernels.gate_kernel[(rows, triton.cdiv(width, block))](gate_and_up, out, width, block)
        return out

    def rotate_and_store(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        places: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> torch.Tensor:
        shape = self._shape
        rows, width, dim = qkv.shape
        queries = qkv.new_empty((rows, shape.heads, dim))
        kernels.rotate_and_store_kernel[(rows, width)](
            qkv, cos, sin, places, queries, keys, values, keys.shape[1],
            shape.heads, shape.kv_heads, dim, cos.shape[1], num_warps=1,
        )  # fmt: skip
        return queries

    def attend_rows(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rows: Rows) -> torch.Tensor:
        count, heads, dim = queries.shape
        kv_heads = keys.shape[0]
        group = heads // kv_heads
        splits = self._splits(count * kv_heads)
        out = torch.empty_like(queries)
        partial = queries.new_empty((count, heads, splits, dim) if splits > 1 else (1,), dtype=torch.float32)
        tops = queries.new_empty((count, heads, splits), dtype=torch.float32)
        sums = torch.empty_like(tops)
        kernels.attend_kernel[(count, kv_heads, splits)](
            queries, keys, values, rows.tables, rows.slots, rows.lengths, out, partial, tops, sums,
            math.log2(math.e) / math.sqrt(dim), rows.tables.shape[1], keys.shape[1],
            kv_heads, group, max(SMALLEST_DOT, triton.next_power_of_2(group)), dim, BLOCK_SIZE, splits,
            num_warps=4, num_stages=3,
        )  # fmt: skip
        if splits > 1:
            kernels.join_kernel[(count * heads,)](partial, tops, sums, out, dim, splits)
        return out

    def attend_chunk(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, chunk: Chunk
    ) -> torch.Tensor:
        if queries.dtype == torch.float32:  # flash attention has no such kernel
            return super().attend_chunk(queries, keys, values, chunk)
        tokens = chunk.end - chunk.start
        ends = torch.arange(2, device=queries.device, dtype=torch.int32)
        attend: Any = varlen_attn  # its options differ between torch's versions
        attended: torch.Tensor = attend(
            queries,
            keys[:, chunk.seen].transpose(0, 1),
            values[:, chunk.seen].transpose(0, 1),
            ends * tokens,
            ends * chunk.end,
            tokens,
            chunk.end,
            window_size=(-1, 0),  # causal, the last query against the last key
            **self._grouped,
        )
        return attended

    def _splits(self, programs: int) -> int:
        """Parts that a row's keys of one head are cut into, so that all of the device has work; a power of two."""
        wanted = self._cores * PROGRAMS_PER_CORE / programs
        return min(MAX_SPLITS, 2 ** max(0, math.ceil(math.log2(wanted)))) if wanted > 1 else 1


def _warps(width: int) -> int:
    """Threads for a row: 16 numbers each."""
    return min(16, max(1, width // 512))
