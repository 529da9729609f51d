"""Names the content of a sequence's KV cache blocks, so that another sequence with the same beginning finds them.

Keys and values of a token depend on all tokens up to it, on the pixels behind image tokens, and on the model. The hash
of a block therefore covers the hash of the block before it, its tokens with their types, and a digest of each image or
video that begins in it, pixels and grid; positions of image tokens follow from these. The first hash covers a root.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.block_pool import BLOCK_SIZE
from engine.events import Token

ITEM_SIZE = 8
"""Bytes of a token."""


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """Where the image tokens of an image or video are in the prompt."""

    start: int
    end: int
    """Position after its last image token."""
    cost: float
    """Cost of encoding it, as of ``StepCosts``."""
    digest: bytes
    """Of its kind, grid and pixels."""


class BlockHashes:
    """Hashes of the full blocks of one sequence, computed when they are first asked for.

    Args:
        root: what the content depends on besides tokens and media. Sequences with different roots share nothing.
        prompt: ids of the prompt, with their types in the upper half, as int64.
        media: of the prompt.
    """

    def __init__(self, root: bytes, prompt: bytes, media: Sequence[MediaSpan]) -> None:
        self._root = root
        self._prompt = prompt
        self._media = media
        self._hashes: list[bytes] = []

    def first(self, count: int, output: Sequence[Token]) -> list[bytes]:
        """Return the hashes of the first ``count`` blocks of prompt and output."""
        while len(self._hashes) < count:
            self._hashes.append(self._hash(len(self._hashes), output))
        return self._hashes[:count]

    def _hash(self, number: int, output: Sequence[Token]) -> bytes:
        start, end = number * BLOCK_SIZE, (number + 1) * BLOCK_SIZE
        num_prompt_tokens = len(self._prompt) // ITEM_SIZE
        digest = hashlib.blake2b(self._hashes[-1] if self._hashes else self._root, digest_size=32)
        digest.update(self._prompt[start * ITEM_SIZE : end * ITEM_SIZE])
        tokens = output[max(0, start - num_prompt_tokens) : max(0, end - num_prompt_tokens)]
        digest.update(array("q", [token.id for token in tokens]).tobytes())
        for medium in self._media:
            if start <= medium.start < end:
                digest.update(medium.start.to_bytes(8) + medium.digest)
        return digest.digest()
