"""Operations of a text model's layer in plain torch: used on the CPU, and the reference for the GPU kernels.

A row is one token of a sequence. Grouped queries are packed: the queries that share a key head are read as one block
against it. Repeating the keys instead, as transformers does, moves 16 times the bytes at this model's shape.
"""

from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from engine.runner.device import to_device


@dataclass(frozen=True, slots=True)
class DecodeMetadata:
    """Attention metadata of a decode pass: each row is one token of some sequence. All tensors are on the device.

    Attributes:
        slots: ``[rows]``, int64.
        block_tables: ``[slots + 1, blocks]``, int32: the cache's.
        seq_lens: ``[rows]``, int32: tokens that a row attends to, itself included.
        slot_mapping: ``[rows]``, int64: cache positions of the rows' own keys and values.
        kv_indices: ``[rows, longest]``, int64: cache positions of all tokens that a row attends to, padded. None in a
            captured graph, where the longest row is not known: the kernel reads ``block_tables`` instead.
    """

    slots: torch.Tensor
    block_tables: torch.Tensor
    seq_lens: torch.Tensor
    slot_mapping: torch.Tensor
    kv_indices: torch.Tensor | None

    @property
    def attention_mask(self) -> torch.Tensor:
        """``[rows, longest]``, bool: which of ``kv_indices`` are not padding."""
        assert self.kv_indices is not None
        return torch.arange(self.kv_indices.shape[1], device=self.kv_indices.device) < self.seq_lens[:, None]


@dataclass(frozen=True, slots=True)
class PrefillMetadata:
    """Attention metadata of a prefill pass over chunks of several sequences. All tensors are on the device.

    Attributes:
        chunks: first and last token, exclusive, of each sequence's chunk, in the order of the rows.
        slot_mapping: ``[tokens]``, int64: cache positions of the chunks' keys and values.
        kv_indices: ``[sum of all ends]``, int64: cache positions of each sequence's tokens up to the end of its chunk.
        query_ends, kv_ends: ``[chunks + 1]``, int32: where each sequence ends in the two; the first is 0.
    """

    chunks: list[tuple[int, int]]
    slot_mapping: torch.Tensor
    kv_indices: torch.Tensor
    query_ends: torch.Tensor
    kv_ends: torch.Tensor

    @classmethod
    def of(
        cls, chunks: list[tuple[int, int]], slot_mapping: torch.Tensor, kv_indices: torch.Tensor
    ) -> "PrefillMetadata":
        device = kv_indices.device
        query_ends = list(accumulate((end - start for start, end in chunks), initial=0))
        kv_ends = list(accumulate((end for _, end in chunks), initial=0))
        return cls(
            chunks,
            slot_mapping,
            kv_indices,
            to_device(query_ends, device, torch.int32),
            to_device(kv_ends, device, torch.int32),
        )

    @property
    def longest_chunk(self) -> int:
        return max(end - start for start, end in self.chunks)

    @property
    def longest_end(self) -> int:
        return max(end for _, end in self.chunks)


@dataclass(frozen=True, slots=True)
class Segments:
    """Patches of a vision pass that attend to each other: those of one image, or of one frame pair.

    Attributes:
        lengths: patches of each segment.
        ends: ``[segments + 1]``, int32, on the device: where each segment ends; the first is 0.
    """

    lengths: list[int]
    ends: torch.Tensor


class TorchOps:
    """Operations of one layer. The decoder and the vision tower call them in order."""

    name = "torch"
    is_capturable = False
    """Whether ``decode_attention`` works without ``DecodeMetadata.kv_indices``."""
    packs_prefills = False
    """Whether a pass over chunks of several sequences is faster than one for each."""

    def norm(self, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """RMS norm of ``[rows, hidden]``."""
        return rms_norm(hidden, weight.shape, weight, eps)

    def norm_add_norm(
        self, residual: torch.Tensor, added: torch.Tensor, inner: torch.Tensor, outer: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``residual + norm(added)`` and the norm of that sum: GLM normalizes both ends of a block."""
        residual = residual + self.norm(added, inner, eps)
        return residual, self.norm(residual, outer, eps)

    def silu_and_mul(self, gate_and_up: torch.Tensor) -> torch.Tensor:
        """``silu(gate) · up`` of ``[rows, 2 × width]``."""
        gate, up = gate_and_up.chunk(2, dim=-1)
        return up * silu(gate)

    def rope_and_cache(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        slot_mapping: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> torch.Tensor:
        """Rotate queries and keys by their positions, and write keys and values to the cache.

        Args:
            qkv: ``[rows, heads + 2 × kv_heads, head_dim]``.
            cos, sin: ``[rows, rotated pairs]``: the first dimensions of a head rotate in neighbouring pairs.
            slot_mapping: ``[rows]``, int64.
            keys, values: the layer's cache.

        Returns:
            Rotated queries, ``[rows, heads, head_dim]``.
        """
        kv_heads = keys.shape[0]
        heads = qkv.shape[1] - 2 * kv_heads
        rotated = _rotate(qkv[:, : heads + kv_heads], cos, sin)
        keys.index_copy_(1, slot_mapping, rotated[:, heads:].transpose(0, 1))
        values.index_copy_(1, slot_mapping, qkv[:, heads + kv_heads :].transpose(0, 1))
        return rotated[:, :heads]

    def decode_attention(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, metadata: DecodeMetadata
    ) -> torch.Tensor:
        """Attend each row to its own sequence: ``[rows, heads, head_dim]`` in and out."""
        count, heads, head_dim = queries.shape
        kv_heads = keys.shape[0]
        assert metadata.kv_indices is not None
        flat, size = metadata.kv_indices.flatten(), (kv_heads, *metadata.kv_indices.shape, head_dim)
        packed = queries.view(count, kv_heads, heads // kv_heads, head_dim).transpose(0, 1)
        out = scaled_dot_product_attention(
            packed,
            keys.index_select(1, flat).view(size),
            values.index_select(1, flat).view(size),
            attn_mask=metadata.attention_mask[None, :, None, :],
        )
        return out.transpose(0, 1).reshape(count, heads, head_dim)

    def prefill_attention(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, metadata: PrefillMetadata
    ) -> torch.Tensor:
        """Attend each token to its sequence up to itself: ``[tokens, heads, head_dim]`` in and out."""
        parts = []
        row = key = 0
        for start, end in metadata.chunks:
            own = metadata.kv_indices[key : key + end]
            mask = None
            if start:
                ends = torch.arange(start, end, device=queries.device)
                mask = torch.arange(end, device=queries.device) <= ends[:, None]
            out = scaled_dot_product_attention(
                queries[row : row + end - start].transpose(0, 1)[None],
                keys.index_select(1, own)[None],
                values.index_select(1, own)[None],
                attn_mask=mask,
                is_causal=mask is None,
                enable_gqa=True,
            )
            parts.append(out[0].transpose(0, 1))
            row, key = row + end - start, key + end
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def add_norm(
        self, residual: torch.Tensor, added: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``residual + added`` and the norm of that sum: the vision tower normalizes the input of a block."""
        residual = residual + added
        return residual, self.norm(residual, weight, eps)

    def rotate_halves(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotate queries and keys of the vision tower, in float32: dimension ``i`` with ``i + head_dim / 2``.

        Args:
            qkv: ``[patches, 3, heads, head_dim]``; may be overwritten.
            cos, sin: ``[patches, head_dim / 2]``, float32.

        Returns:
            Queries, keys and values, ``[patches, heads, head_dim]``.
        """
        first, second = qkv[:, :2].float().chunk(2, dim=-1)
        cos, sin = cos[:, None, None], sin[:, None, None]
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(qkv.dtype)
        return rotated[:, 0], rotated[:, 1], qkv[:, 2]

    def segment_attention(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        """Attend each patch to all patches of its segment: ``[patches, heads, head_dim]`` in and out."""
        parts: list[torch.Tensor] = []
        start = 0
        for length, equal in groupby(segments.lengths):  # neighbours of one length are one batch
            count = sum(1 for _ in equal)
            end = start + count * length
            q, k, v = (
                part[start:end].view(count, length, *part.shape[1:]).transpose(1, 2) for part in (queries, keys, values)
            )
            parts.append(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(end - start, *queries.shape[1:]))
            start = end
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``[rows, heads, head_dim]`` with the first ``2 × pairs`` dimensions rotated, pair by pair."""
    rotary, rest = heads[..., : 2 * cos.shape[-1]], heads[..., 2 * cos.shape[-1] :]
    even, odd = rotary[..., 0::2], rotary[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    rotated = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    return torch.cat((rotated, rest), dim=-1)
