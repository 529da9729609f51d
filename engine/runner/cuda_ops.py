"""Operations of a layer on a CUDA device: our Triton kernels, and attention of prompts and images from torch."""

import math

import torch
import triton

from engine.core.block_pool import BLOCK_SIZE
from engine.runner import kernels
from engine.runner.kv_cache import AttentionShape
from engine.runner.prefill_attention import FlashPrefill
from engine.runner.torch_ops import DecodeMetadata, PrefillMetadata, Segments, TorchOps

MANY_ROWS = 512
ROPE_HEADS = 16
"""Heads that a program rotates in a pass of many rows; with few rows, one head each keeps the device busy."""
PROGRAMS_PER_SM = 4
"""Programs of decode attention per streaming multiprocessor that keep the device busy."""
MAX_SPLITS = 64
MIN_DOT_ROWS = 16
"""Smallest number of rows of Triton's matrix product."""


class CudaOps(TorchOps):
    """Same results as ``TorchOps``; ``tests/gpu`` compares them."""

    is_capturable = True
    packs_prefills = True

    def __init__(self, shape: AttentionShape, prefill: FlashPrefill | None = None) -> None:
        self._shape = shape
        self._prefill = prefill or FlashPrefill()
        self.name = f"triton+{self._prefill.name}"
        self._sms = torch.cuda.get_device_properties().multi_processor_count

    def norm(self, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        out = torch.empty_like(hidden)
        rows, width = hidden.shape
        padded = triton.next_power_of_2(width)
        kernels.rms_norm_kernel[(rows,)](hidden, weight, out, eps, width, padded, num_warps=_warps(padded))
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

    def silu_and_mul(self, gate_and_up: torch.Tensor) -> torch.Tensor:
        rows, width = len(gate_and_up), gate_and_up.shape[1] // 2
        out = gate_and_up.new_empty((rows, width))
        block = 1_024
        kernels.silu_and_mul_kernel[(rows, triton.cdiv(width, block))](gate_and_up, out, width, block)
        return out

    def rope_and_cache(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        slot_mapping: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> torch.Tensor:
        shape = self._shape
        rows, width, dim = qkv.shape
        queries = qkv.new_empty((rows, shape.heads, dim))
        heads = 1 if rows < MANY_ROWS else ROPE_HEADS
        kernels.rope_and_cache_kernel[(rows, triton.cdiv(width, heads))](
            qkv, cos, sin, slot_mapping, queries, keys, values, keys.shape[1],
            shape.heads, shape.kv_heads, dim, cos.shape[1], heads, num_warps=1 if heads == 1 else 4,
        )  # fmt: skip
        return queries

    def decode_attention(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, metadata: DecodeMetadata
    ) -> torch.Tensor:
        count, heads, dim = queries.shape
        kv_heads = keys.shape[0]
        group = heads // kv_heads
        splits = self._splits(count * kv_heads)
        out = torch.empty_like(queries)
        partial = queries.new_empty((count, heads, splits, dim) if splits > 1 else (1,), dtype=torch.float32)
        maxima = queries.new_empty((count, heads, splits), dtype=torch.float32)
        sums = torch.empty_like(maxima)
        kernels.decode_attention_kernel[(count, kv_heads, splits)](
            queries, keys, values, metadata.block_tables, metadata.slots, metadata.seq_lens, out, partial, maxima, sums,
            math.log2(math.e) / math.sqrt(dim), metadata.block_tables.shape[1], keys.shape[1],
            kv_heads, group, max(MIN_DOT_ROWS, triton.next_power_of_2(group)), dim, BLOCK_SIZE, splits,
            num_warps=4, num_stages=3,
        )  # fmt: skip
        if splits > 1:
            kernels.combine_splits_kernel[(count * heads,)](partial, maxima, sums, out, dim, splits)
        return out

    def prefill_attention(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, metadata: PrefillMetadata
    ) -> torch.Tensor:
        if queries.dtype == torch.float32:  # flash attention has no such kernel
            return super().prefill_attention(queries, keys, values, metadata)
        # Contiguous per token, so that cuDNN sees the same strides for each length.
        own_keys, own_values = (part.transpose(0, 1).index_select(0, metadata.kv_indices) for part in (keys, values))
        return self._prefill.attend(queries, own_keys, own_values, metadata)

    def add_norm(
        self, residual: torch.Tensor, added: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new_residual, out = torch.empty_like(residual), torch.empty_like(residual)
        rows, width = residual.shape
        padded = triton.next_power_of_2(width)
        kernels.add_norm_kernel[(rows,)](
            residual, added, weight, new_residual, out, eps, width, padded, num_warps=_warps(padded)
        )
        return new_residual, out

    def rotate_halves(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows, _, heads, dim = qkv.shape
        rotated, half = 2 * heads, dim // 2
        kernels.rotate_halves_kernel[(rows,)](
            qkv, cos, sin, rotated, triton.next_power_of_2(rotated), half, triton.next_power_of_2(half), 3 * heads * dim
        )
        return qkv[:, 0], qkv[:, 1], qkv[:, 2]

    def segment_attention(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        if queries.dtype == torch.float32:  # flash attention has no such kernel
            return super().segment_attention(queries, keys, values, segments)
        return self._prefill.attend_segments(queries, keys, values, segments)

    def _splits(self, programs: int) -> int:
        """Number of splits of a row's keys that keeps the whole device busy; a power of two."""
        wanted = self._sms * PROGRAMS_PER_SM / programs
        return min(MAX_SPLITS, 2 ** max(0, math.ceil(math.log2(wanted)))) if wanted > 1 else 1


def _warps(width: int) -> int:
    """Warps for a row: 16 elements per thread."""
    return min(16, max(1, width // 512))
