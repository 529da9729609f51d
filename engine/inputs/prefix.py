"""What the prefix cache must know of a prompt: its tokens, and the places and digests of its media."""

from collections.abc import Sequence

import torch

from engine.core.block_hashes import BlockHashes, MediaSpan
from engine.request import ModelInputs


def media_spans(inputs: ModelInputs, sizes: Sequence[tuple[int, float]]) -> tuple[MediaSpan, ...]:
    """Return where the media of a prompt are.

    Args:
        sizes: number of image tokens and cost of each medium, in the order of ``mm_hashes``.

    Returns:
        Nothing if the media have no hashes or do not match the image tokens.
    """
    positions = (inputs.mm_token_type_ids > 0).nonzero()[:, 0].tolist()
    if len(inputs.mm_hashes) != len(sizes) or sum(tokens for tokens, _ in sizes) != len(positions):
        return ()
    spans: list[MediaSpan] = []
    first = 0
    for (tokens, cost), digest in zip(sizes, inputs.mm_hashes, strict=True):
        spans.append(MediaSpan(positions[first], positions[first + tokens - 1] + 1, cost, digest))
        first += tokens
    return tuple(spans)


def block_hashes(inputs: ModelInputs, media: Sequence[MediaSpan], root: bytes) -> BlockHashes | None:
    """Return the hashes of a prompt's blocks; None if its media are not known, so that nothing may be shared."""
    if not media and bool((inputs.mm_token_type_ids > 0).any()):
        return None
    tokens = inputs.input_ids.to(torch.int64) + (inputs.mm_token_type_ids.to(torch.int64) << 32)
    return BlockHashes(root, tokens.numpy().tobytes(), media)
