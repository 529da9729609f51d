"""The tensors of the KV cache, and where in them a sequence's tokens stand."""

from dataclasses import dataclass

import torch

from engine.core.block_pool import BLOCK_SIZE, BlockPool
from engine.runner.device import to_device


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What the text model's attention is made of."""

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
        """Numbers that one token keeps in the cache."""
        return 2 * self.layers * self.kv_heads * self.head_dim


class KVCache:
    """Allocated once. A head's tokens of one block are contiguous, so that attention reads them in whole lines.

    Attributes:
        keys, values: of each layer ``[kv_heads, places, head_dim]``; a place is a token of a block.
        tables: ``[slots + 1, blocks of the longest sequence]``, int32: each slot's blocks; the last row is of no slot.
    """

    def __init__(
        self,
        shape: AttentionShape,
        pool: BlockPool,
        *,
        slots: int,
        longest: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        places = (pool.blocks + 1) * BLOCK_SIZE  # block 0 is the scratch block
        # Zeros, not whatever was there: a masked place counts for nothing only while it is a number.
        whole = torch.zeros((2, shape.layers, shape.kv_heads, places, shape.head_dim), device=device, dtype=dtype)
        self.keys, self.values = whole[0].unbind(0), whole[1].unbind(0)
        self._by_block = torch.unflatten(whole, 3, (-1, BLOCK_SIZE))
        width = -(-longest // BLOCK_SIZE) + 1
        self.tables = torch.zeros((slots + 1, width), device=device, dtype=torch.int32)
        self._offsets = torch.arange(BLOCK_SIZE, device=device, dtype=torch.int64)

    def assign(self, slot: int, first: int, blocks: list[int]) -> None:
        """Say which blocks a slot's tokens stand in, from its block number ``first`` on; they are empty then.

        A sequence that made no numbers (NaN) leaves them in its blocks, and a place that attention masks still counts
        as zero times what is there.
        """
        self._by_block.index_fill_(3, to_device(blocks, self.tables.device), 0)
        self.tables[slot, first : first + len(blocks)] = to_device(blocks, self.tables.device, torch.int32)

    def place_of(self, slots: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Places ``[rows]``, int64, of each row's token, given by its number in the sequence."""
        blocks = self.tables[slots, tokens // BLOCK_SIZE]
        return blocks.long() * BLOCK_SIZE + tokens % BLOCK_SIZE

    def places(self, slots: torch.Tensor, tokens: int) -> torch.Tensor:
        """Places ``[rows, tokens rounded up to whole blocks]`` of the first ``tokens`` of each slot."""
        blocks = self.tables[slots, : -(-tokens // BLOCK_SIZE)]
        return (blocks.long()[..., None] * BLOCK_SIZE + self._offsets).flatten(-2)
