"""What the text model is made of, in plain torch: on the CPU, and what the GPU's kernels are held against.

A row is one token of some sequence. Grouped queries are packed: the queries that share a key head are read as one block
against it. Repeating the keys instead, as transformers does, moves 16 times the bytes at this model's shape.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu


@dataclass(frozen=True, slots=True)
class Rows:
    """A decode pass: one token of a sequence each, on the device.

    Attributes:
        slots: ``[rows]``, int64.
        tables: ``[slots + 1, blocks]``, int32: the cache's.
        lengths: ``[rows]``, int32: tokens that a row sees, itself included.
        places: ``[rows]``, int64: where its own keys and values go.
        seen: ``[rows, longest]``, int64: places of all that a row sees, and some more behind; None in a captured graph,
            where the longest is not known: there it is left to the kernel.
    """

    slots: torch.Tensor
    tables: torch.Tensor
    lengths: torch.Tensor
    places: torch.Tensor
    seen: torch.Tensor | None

    @property
    def visible(self) -> torch.Tensor:
        """``[rows, longest]``, bool: which of ``seen`` count."""
        assert self.seen is not None
        return torch.arange(self.seen.shape[1], device=self.seen.device) < self.lengths[:, None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A prefill pass: tokens ``start`` to ``end`` of the sequence in one slot.

    Attributes:
        places: ``[end - start]``, int64: where their keys and values go.
        seen: ``[end]``, int64: places of all that they see.
    """

    start: int
    end: int
    places: torch.Tensor
    seen: torch.Tensor


class TorchOps:
    """One layer's steps; the order of their calls is the decoder's."""

    name = "torch"
    is_capturable = False
    """Can ``attend_rows`` do without ``Rows.seen``?"""

    def norm(self, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """RMS norm of ``[rows, hidden]``."""
        return rms_norm(hidden, weight.shape, weight, eps)

    def norm_add_norm(
        self, residual: torch.Tensor, added: torch.Tensor, inner: torch.Tensor, outer: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``residual + norm(added)``, and the norm of that: GLM has a norm at each end of a block."""
        residual = residual + self.norm(added, inner, eps)
        return residual, self.norm(residual, outer, eps)

    def gate(self, gate_and_up: torch.Tensor) -> torch.Tensor:
        """``silu(gate) · up`` of ``[rows, 2 × width]``."""
        gate, up = gate_and_up.chunk(2, dim=-1)
        return up * silu(gate)

    def rotate_and_store(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        places: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> torch.Tensor:
        """Turn queries and keys by their positions, and put keys and values into the cache.

        Args:
            qkv: ``[rows, heads + 2 × kv_heads, head_dim]``.
            cos, sin: ``[rows, pairs that turn]``: a head's first dimensions turn in neighbouring pairs.

        Returns:
            Queries, ``[rows, heads, head_dim]``.
        """
        kv_heads = keys.shape[0]
        heads = qkv.shape[1] - 2 * kv_heads
        turned = _rotate(qkv[:, : heads + kv_heads], cos, sin)
        keys.index_copy_(1, places, turned[:, heads:].transpose(0, 1))
        values.index_copy_(1, places, qkv[:, heads + kv_heads :].transpose(0, 1))
        return turned[:, :heads]

    def attend_rows(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Each row against its own sequence: ``[rows, heads, head_dim]`` in and out."""
        count, heads, head_dim = queries.shape
        kv_heads = keys.shape[0]
        assert rows.seen is not None
        flat, size = rows.seen.flatten(), (kv_heads, *rows.seen.shape, head_dim)
        packed = queries.view(count, kv_heads, heads // kv_heads, head_dim).transpose(0, 1)
        out = scaled_dot_product_attention(
            packed,
            keys.index_select(1, flat).view(size),
            values.index_select(1, flat).view(size),
            attn_mask=rows.visible[None, :, None, :],
        )
        return out.transpose(0, 1).reshape(count, heads, head_dim)

    def attend_chunk(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, chunk: Chunk
    ) -> torch.Tensor:
        """Each token of a chunk against all before it and itself: ``[tokens, heads, head_dim]`` in and out."""
        visible = None
        if chunk.start:
            ends = torch.arange(chunk.start, chunk.end, device=queries.device)
            visible = torch.arange(chunk.end, device=queries.device) <= ends[:, None]
        out = scaled_dot_product_attention(
            queries.transpose(0, 1)[None],
            keys.index_select(1, chunk.seen)[None],
            values.index_select(1, chunk.seen)[None],
            attn_mask=visible,
            is_causal=visible is None,
            enable_gqa=True,
        )
        return out[0].transpose(0, 1)


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``[rows, heads, head_dim]`` with the first ``2 × pairs`` dimensions turned, pair by pair."""
    turning, still = heads[..., : 2 * cos.shape[-1]], heads[..., 2 * cos.shape[-1] :]
    even, odd = turning[..., 0::2], turning[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    return torch.cat((turned, still), dim=-1)
