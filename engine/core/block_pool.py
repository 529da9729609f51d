"""Ownership of the KV cache's blocks. Accounting only: the tensors are in ``runner/kv_cache.py``.

A full block whose content is known by a hash (``block_hashes.py``) stays usable after its sequences have left, until
its memory is needed: a sequence that begins with the same tokens takes it instead of computing it. Its content is never
written again, so that several sequences may use it at the same time.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence

BLOCK_SIZE = 64
"""Tokens per block; a multiple of what the attention kernel reads at once."""
NULL_BLOCK = 0
"""Belongs to no sequence. Padding rows of a captured CUDA graph write to it."""


def blocks_needed(num_tokens: int) -> int:
    """Return how many blocks hold this many tokens."""
    return -(-num_tokens // BLOCK_SIZE)


class BlockPool:
    """All blocks except the null block; each is free or used by sequences.

    Args:
        num_tokens: capacity of the KV cache; rounded down to whole blocks.
    """

    def __init__(self, num_tokens: int) -> None:
        self.num_blocks = num_tokens // BLOCK_SIZE
        # The last freed block is allocated first: it may still be in a hardware cache.
        self._free = list(range(self.num_blocks, NULL_BLOCK, -1))
        self._users: Counter[int] = Counter()
        """Number of sequences per used block."""
        self._cached: dict[bytes, int] = {}
        self._hashes: dict[int, bytes] = {}
        """Hash of each cached block."""
        self._unused: OrderedDict[int, None] = OrderedDict()
        """Cached blocks that no sequence uses, the least recently used first."""

    @property
    def num_free(self) -> int:
        """Blocks that no sequence uses; those that are cached are given away after the others."""
        return len(self._free) + len(self._unused)

    @property
    def num_tokens(self) -> int:
        """Tokens that all blocks hold."""
        return self.num_blocks * BLOCK_SIZE

    def find(self, hashes: Sequence[bytes]) -> list[int]:
        """Return the cached blocks of the longest beginning of these hashes. They are not taken."""
        found: list[int] = []
        for one in hashes:
            if (block := self._cached.get(one)) is None:
                break
            found.append(block)
        return found

    def num_taken(self, count: int, cached: Sequence[int]) -> int:
        """Return how many free blocks a sequence of ``count`` blocks takes, if the first ones are ``cached``."""
        return count - sum(block not in self._unused for block in cached)

    def allocate(self, count: int, cached: Sequence[int] = ()) -> list[int] | None:
        """Take ``count`` blocks, of which ``find`` has found the first ones; None if too few are free."""
        if self.num_taken(count, cached) > self.num_free:
            return None
        for block in cached:
            self._unused.pop(block, None)
        blocks = [*cached, *(self._take() for _ in range(count - len(cached)))]
        self._users.update(blocks)
        return blocks

    def register(self, block: int, block_hash: bytes) -> None:
        """Let other sequences find a used block, whose content is final. The first block of a hash is kept."""
        if block not in self._hashes and block_hash not in self._cached:
            self._cached[block_hash], self._hashes[block] = block, block_hash

    def release(self, blocks: Sequence[int]) -> None:
        """End the use of a sequence's blocks. Its last ones are given away first: they are of no use without others."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block]:
                continue
            del self._users[block]
            if block in self._hashes:
                self._unused[block] = None
            else:
                self._free.append(block)

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        block, _ = self._unused.popitem(last=False)
        del self._cached[self._hashes.pop(block)]
        return block
