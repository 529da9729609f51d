"""Ownership of the KV cache's blocks. Accounting only: the tensors are in ``runner/kv_cache.py``."""

from collections.abc import Iterable

BLOCK_SIZE = 64
"""Tokens per block; a multiple of what the attention kernel reads at once."""
NULL_BLOCK = 0
"""Belongs to no sequence. Padding rows of a captured CUDA graph write to it."""


def blocks_needed(num_tokens: int) -> int:
    """Return how many blocks hold this many tokens."""
    return -(-num_tokens // BLOCK_SIZE)


class BlockPool:
    """All blocks except the null block; each is free or owned by one sequence.

    Args:
        num_tokens: capacity of the KV cache; rounded down to whole blocks.
    """

    def __init__(self, num_tokens: int) -> None:
        self.num_blocks = num_tokens // BLOCK_SIZE
        # The last freed block is allocated first: it may still be in a hardware cache.
        self._free = list(range(self.num_blocks, NULL_BLOCK, -1))

    @property
    def num_free(self) -> int:
        """Free blocks."""
        return len(self._free)

    @property
    def num_tokens(self) -> int:
        """Tokens that all blocks hold."""
        return self.num_blocks * BLOCK_SIZE

    def allocate(self, count: int) -> list[int] | None:
        """Take ``count`` blocks, or return None if fewer are free."""
        if count > len(self._free):
            return None
        return [self._free.pop() for _ in range(count)]

    def release(self, blocks: Iterable[int]) -> None:
        """Make blocks free again."""
        self._free.extend(blocks)
