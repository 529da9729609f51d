"""Tensors of the paged KV cache, and the mapping from a sequence's tokens to positions in them.

A *slot* is the row of a running sequence in per-sequence tables. A *cache position* is the index of one token in the
keys and values; ``slot_mapping`` (vLLM's name) holds the cache positions that a pass writes.
"""

from dataclasses import dataclass

import torch

from engine.core.block_pool import BLOCK_SIZE, BlockPool, blocks_needed
from engine.runner.device import to_device


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Dimensions of the text model's attention."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, text_config: object) -> "AttentionShape":
        hidden, heads = text_config.hidden_size, text_config.num_attention_heads  # type: ignore[attr-defined]
        return cls(
            layers=text_config.num_hidden_layers,  # type: ignore[attr-defined]
            heads=heads,
            kv_heads=text_config.num_key_value_heads,  # type: ignore[attr-defined]
            head_dim=hidden // heads,
        )

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token occupies in the cache, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim


class KVCache:
    """Allocated once. The tokens of a block are contiguous per head, so attention reads them in whole lines.

    Attributes:
        keys, values: per layer ``[kv_heads, cache positions, head_dim]``.
        block_tables: ``[slots + 1, blocks of the longest sequence]``, int32: each slot's blocks. The last row belongs
            to no slot.
    """

    def __init__(
        self,
        shape: AttentionShape,
        pool: BlockPool,
        *,
        slots: int,
        max_sequence_tokens: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        positions = (pool.num_blocks + 1) * BLOCK_SIZE  # block 0 is the null block
        # Zeros, not uninitialised memory: a masked position has no effect only if it holds a number.
        whole = torch.zeros((2, shape.layers, shape.kv_heads, positions, shape.head_dim), device=device, dtype=dtype)
        self.keys, self.values = whole[0].unbind(0), whole[1].unbind(0)
        self._by_block = torch.unflatten(whole, 3, (-1, BLOCK_SIZE))
        self._whole = whole
        width = blocks_needed(max_sequence_tokens) + 1
        self.block_tables = torch.zeros((slots + 1, width), device=device, dtype=torch.int32)
        self._offsets = torch.arange(BLOCK_SIZE, device=device, dtype=torch.int64)

    def assign_blocks(self, slot: int, first: int, blocks: list[int], *, num_cached: int = 0) -> None:
        """Set a slot's blocks from block number ``first`` on, and zero all but the first ``num_cached`` of them.

        A sequence that produced NaN leaves it in its blocks, and a position that attention masks still counts as zero
        times its content.
        """
        if len(blocks) > num_cached:
            self._by_block.index_fill_(3, to_device(blocks[num_cached:], self.block_tables.device), 0)
        self.block_tables[slot, first : first + len(blocks)] = to_device(blocks, self.block_tables.device, torch.int32)

    def slot_mapping(self, slots: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the cache position ``[rows]``, int64, of token number ``tokens[i]`` of slot ``slots[i]``."""
        blocks = self.block_tables[slots, tokens // BLOCK_SIZE]
        return blocks.long() * BLOCK_SIZE + tokens % BLOCK_SIZE

    def kv_indices(self, slots: torch.Tensor, num_tokens: int) -> torch.Tensor:
        """Return the cache positions of each slot's first tokens, ``[rows, num_tokens rounded up to whole blocks]``."""
        blocks = self.block_tables[slots, : blocks_needed(num_tokens)]
        return (blocks.long()[..., None] * BLOCK_SIZE + self._offsets).flatten(-2)

    def fill_with_noise(self) -> None:
        """Fill keys and values with noise, for benchmarks: zeros would be read faster."""
        self._whole.normal_()
