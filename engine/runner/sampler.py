"""From logits to tokens, for all sequences of a batch at once.

The randomness of a token depends on its request's seed and its place alone, so a neighbour in the batch changes
nothing, and a resumed sequence samples as it would have.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.request import SamplingParams
from engine.runner.device import to_device

NAN_TOKEN = -1
"""Instead of a token: the model gave no numbers."""


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1), always the same for the same place."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


@dataclass(frozen=True, slots=True)
class Choice:
    """How one row's token is chosen."""

    sampling: SamplingParams
    position: int
    """Of the new token in the sequence."""
    suppressed_ids: tuple[int, ...]
    """Ids that must not be chosen."""

    @property
    def is_greedy(self) -> bool:
        return self.sampling.temperature == 0 or self.sampling.top_k == 1


def sample(logits: torch.Tensor, seen: torch.Tensor | None, choices: Sequence[Choice]) -> torch.Tensor:
    """Choose each row's next token, on the device of the logits, without waiting for it.

    Args:
        logits: ``[rows, vocab_size]``, any float type.
        seen: ``[rows, vocab_size]``, bool: the ids of prompt and output, for the repetition penalty; None: no penalty.

    Returns:
        Ids ``[rows]``, int64; ``NAN_TOKEN`` where the model gave no numbers.
    """
    scores = logits.float()
    broken = scores.isnan().any(dim=-1)
    if seen is not None:
        penalties = _column([choice.sampling.repetition_penalty for choice in choices], scores)
        scores = torch.where(seen, torch.where(scores < 0, scores * penalties, scores / penalties), scores)
    scores = _mask(scores, choices)
    ids = scores.argmax(dim=-1)
    if not all(choice.is_greedy for choice in choices):
        drawn = _draw(scores, choices)
        greedy = to_device([choice.is_greedy for choice in choices], scores.device, torch.bool)
        ids = torch.where(greedy, ids, drawn)
    return ids.masked_fill(broken, NAN_TOKEN)


def _mask(scores: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
    pairs = [(row, token) for row, choice in enumerate(choices) for token in choice.suppressed_ids]
    if not pairs:
        return scores
    rows, tokens = to_device(pairs, scores.device).unbind(1)
    return scores.index_put((rows, tokens), scores.new_full((), float("-inf")))


def _draw(scores: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
    """Walk down each row's likeliest tokens until its random number of what top-k and top-p leave is passed."""
    vocab_size = scores.shape[-1]
    # A greedy row takes part with its likeliest token, so that it does not widen the others' search.
    limits = [1 if choice.is_greedy else min(choice.sampling.top_k or vocab_size, vocab_size) for choice in choices]
    values, ids = scores.topk(max(limits), dim=-1)
    ranks = torch.arange(values.shape[-1], device=scores.device)
    values = values / _column([choice.sampling.temperature or 1.0 for choice in choices], scores)
    values = values.masked_fill(ranks >= _column(limits, ranks), float("-inf"))
    # float64: at the edge of a token's share, the same draw on every device.
    heights = values.double().softmax(dim=-1).cumsum(dim=-1)
    tops = _column([choice.sampling.top_p for choice in choices], heights)
    kept = (heights < tops).sum(dim=-1, keepdim=True) + 1
    kept = torch.minimum(torch.where(tops < 1, kept, _column(limits, kept)), _column(limits, kept))
    numbers = _column([uniform(choice.sampling.seed, choice.position) for choice in choices], heights)
    aimed = numbers * heights.gather(-1, kept - 1)
    chosen = torch.minimum((heights <= aimed).sum(dim=-1, keepdim=True), kept - 1)
    return ids.gather(-1, chosen)[:, 0]


def _column(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """``[rows, 1]`` on the device and of the type of another tensor."""
    return to_device(numbers, like.device, like.dtype)[:, None]
