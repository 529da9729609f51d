"""From logits to a token. The randomness of a token depends on the seed and its position alone, so a neighbour in the
batch changes nothing, and a resumed sequence samples as it would have.
"""

import hashlib
from collections.abc import Sequence

import torch

from worker.engine.errors import SequenceError
from worker.engine.request import Sampling


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1), always the same for the same place."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def sample(
    logits: torch.Tensor, sampling: Sampling, *, seen: torch.Tensor, masked: Sequence[int], position: int
) -> int:
    """Choose the next token.

    Args:
        logits: ``[vocabulary]``, any float type, any device.
        seen: ids of the prompt and of all tokens behind it, for the repetition penalty.
        masked: ids that must not be chosen.
        position: of the new token in the sequence.

    Raises:
        SequenceError: the model gave no numbers.
    """
    scores = logits.float()
    if torch.isnan(scores).any():
        raise SequenceError("model_nan", "The model gave no numbers (NaN) for this input.")
    if sampling.repetition_penalty != 1:
        found = scores[seen]
        penalised = torch.where(found < 0, found * sampling.repetition_penalty, found / sampling.repetition_penalty)
        scores = scores.index_copy(0, seen, penalised)
    if masked:
        scores = scores.index_fill(0, torch.tensor(masked, device=scores.device), float("-inf"))
    if sampling.temperature == 0 or sampling.top_k == 1:
        return int(scores.argmax())
    return _draw(scores / sampling.temperature, sampling, uniform(sampling.seed, position))


def _draw(scores: torch.Tensor, sampling: Sampling, number: float) -> int:
    """Walk down the likeliest tokens until ``number`` of what top-k and top-p leave is passed."""
    kept = min(sampling.top_k or scores.numel(), scores.numel())
    values, ids = scores.topk(kept)
    # float64 on the CPU: the same draw on every device.
    heights = values.double().cpu().softmax(dim=-1).cumsum(dim=-1)
    within = int((heights < sampling.top_p).sum()) + 1 if sampling.top_p < 1 else kept
    heights = heights[: min(within, kept)]
    chosen = int(torch.searchsorted(heights, number * heights[-1], right=True))
    return int(ids[min(chosen, len(heights) - 1)])
