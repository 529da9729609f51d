"""Who has which block of the KV cache. Plain accounting: the tensors are in kv.py."""

from collections.abc import Iterable

BLOCK_SIZE = 64
"""Tokens of one sequence that stand together; a multiple of what the attention kernel reads at once."""
NULL_BLOCK = 0
"""Belongs to nobody: rows that only fill up a captured batch write there."""


def blocks_for(tokens: int) -> int:
    """How many blocks hold so many tokens."""
    return -(-tokens // BLOCK_SIZE)


class BlockPool:
    """All blocks but the scratch block, each free or owned by one sequence."""

    def __init__(self, tokens: int) -> None:
        self.blocks = tokens // BLOCK_SIZE
        # The last freed is taken first: it may still be in a cache.
        self._free = list(range(self.blocks, NULL_BLOCK, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def tokens(self) -> int:
        return self.blocks * BLOCK_SIZE

    def take(self, count: int) -> list[int] | None:
        """So many blocks, or None: there are not enough."""
        if count > len(self._free):
            return None
        return [self._free.pop() for _ in range(count)]

    def give_back(self, blocks: Iterable[int]) -> None:
        self._free.extend(blocks)
