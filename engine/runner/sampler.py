"""Sampling: from logits to tokens, for all sequences of a batch at once.

The random number of a token depends only on its request's seed and its position. Other sequences in the batch
therefore change nothing, and a resumed sequence samples the same tokens.

A resume computes the prompt and the journal in one pass, which rounds differently: in float32 the scores differ by
about 1e-5. Tokens are therefore drawn in the order of their ids, not of their scores, which two nearly equal tokens
would exchange. What remains: a random number within about 1e-5 of the border between two tokens, and a pair of nearly
equal scores of which top-k or top-p keeps one.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.request import SamplingParams
from engine.runner.device import to_device

SAMPLING_VERSION = 2
"""Version of the rule that makes tokens of scores and seed. It is part of the revision that a journal names; raise it
whenever the same scores and seed give another token: a journal of another version is not continued."""
NAN_TOKEN = -1
"""Returned instead of a token when the logits contain NaN."""


def uniform(seed: int, position: int) -> float:
    """Return a number in [0, 1) that depends on the arguments alone."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


@dataclass(frozen=True, slots=True)
class RowSampling:
    """How the token of one row is sampled."""

    params: SamplingParams
    position: int
    """Position of the new token in its sequence."""
    suppressed_ids: tuple[int, ...]
    """Ids that must not be sampled."""
    allowed_ids: bytes | None = None
    """The only ids that may be sampled, one bit each, the lowest bit of a byte first; None: all."""

    @property
    def is_greedy(self) -> bool:
        return self.params.temperature == 0 or self.params.top_k == 1


ScoresObserver = Callable[[torch.Tensor, Sequence[RowSampling]], None]
"""Called with scores ``[rows, vocab_size]`` after penalty and suppression, and the rows' sampling."""


def sample(
    logits: torch.Tensor,
    penalty_mask: torch.Tensor | None,
    rows: Sequence[RowSampling],
    *,
    on_scores: ScoresObserver | None = None,
) -> torch.Tensor:
    """Sample each row's next token, on the device of the logits, without a synchronisation.

    Args:
        logits: ``[rows, vocab_size]``, any float type.
        penalty_mask: ``[rows, vocab_size]``, bool: ids of prompt and output, which the repetition penalty applies to;
            None: no penalty.
        rows: sampling parameters per row.
        on_scores: for debugging, see ``debug.py``.

    Returns:
        Ids ``[rows]``, int64; ``NAN_TOKEN`` where the logits contain NaN.
    """
    scores = logits.float()
    has_nan = scores.isnan().any(dim=-1)
    if penalty_mask is not None:
        penalties = _column([row.params.repetition_penalty for row in rows], scores)
        scores = torch.where(penalty_mask, torch.where(scores < 0, scores * penalties, scores / penalties), scores)
    scores = _allow(_suppress(scores, rows), rows)
    if on_scores is not None:
        on_scores(scores, rows)
    ids = scores.argmax(dim=-1)
    if not all(row.is_greedy for row in rows):
        sampled = _sample_top_k_top_p(scores, rows)
        greedy = to_device([row.is_greedy for row in rows], scores.device, torch.bool)
        ids = torch.where(greedy, ids, sampled)
    return ids.masked_fill(has_nan, NAN_TOKEN)


def _suppress(scores: torch.Tensor, rows: Sequence[RowSampling]) -> torch.Tensor:
    pairs = [(number, token) for number, row in enumerate(rows) for token in row.suppressed_ids]
    if not pairs:
        return scores
    numbers, tokens = to_device(pairs, scores.device).unbind(1)
    return scores.index_put((numbers, tokens), scores.new_full((), float("-inf")))


def _allow(scores: torch.Tensor, rows: Sequence[RowSampling]) -> torch.Tensor:
    """Leave only the allowed ids to the rows that follow a grammar."""
    masks = [(number, row.allowed_ids) for number, row in enumerate(rows) if row.allowed_ids is not None]
    if not masks:
        return scores
    packed = torch.frombuffer(bytearray(b"".join(mask for _, mask in masks)), dtype=torch.uint8)
    packed = packed.view(len(masks), -1).to(scores.device)
    bits = (packed[..., None] >> torch.arange(8, device=scores.device, dtype=torch.uint8)) & 1
    allowed = bits.flatten(1)[:, : scores.shape[-1]].bool()
    numbers = to_device([number for number, _ in masks], scores.device)
    return scores.index_put((numbers,), scores[numbers].masked_fill(~allowed, float("-inf")))


def _sample_top_k_top_p(scores: torch.Tensor, rows: Sequence[RowSampling]) -> torch.Tensor:
    """Inverse transform sampling, in the order of the ids, over the tokens that each row's top-k and top-p leave."""
    weights, ids = _kept_weights(scores, rows)
    vocab_size = scores.shape[-1]
    if ids.shape[-1] == vocab_size:  # an index per id is faster than a sort
        weights = torch.zeros_like(weights).scatter_(-1, ids, weights)
        ids = torch.arange(vocab_size, device=ids.device).expand_as(ids)
    else:
        ids, order = ids.sort(dim=-1)
        weights = weights.gather(-1, order)
    cumulative = weights.cumsum(dim=-1)
    numbers = _column([uniform(row.params.seed, row.position) for row in rows], cumulative)
    threshold = numbers * cumulative[:, -1:]
    chosen = (cumulative <= threshold).sum(dim=-1, keepdim=True)
    # If rounding makes the threshold the whole sum, the last token with a weight is chosen.
    last = (cumulative < cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    return ids.gather(-1, torch.minimum(chosen, last))[:, 0]


def _kept_weights(scores: torch.Tensor, rows: Sequence[RowSampling]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities, float64, and ids of the most likely tokens, both ``[rows, largest top-k]``.

    Those that the row's top-k or top-p leaves out have probability 0; the others do not sum to 1. float64: at the
    border between two tokens every device must sample the same one.
    """
    vocab_size = scores.shape[-1]
    # A greedy row keeps one token, so that it does not widen the other rows' top-k.
    limits = [1 if row.is_greedy else min(row.params.top_k or vocab_size, vocab_size) for row in rows]
    values, ids = scores.topk(max(limits), dim=-1)
    ranks = torch.arange(values.shape[-1], device=scores.device)
    values = values / _column([row.params.temperature or 1.0 for row in rows], scores)
    values = values.masked_fill(ranks >= _column(limits, ranks), float("-inf"))
    weights = values.double().softmax(dim=-1)
    top_p = _column([row.params.top_p for row in rows], weights)
    kept = (weights.cumsum(dim=-1) < top_p).sum(dim=-1, keepdim=True) + 1
    kept = torch.where(top_p < 1, kept, weights.shape[-1])
    return weights.masked_fill(ranks >= kept, 0), ids


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """``[rows, 1]``, with the device and type of another tensor."""
    return to_device(values, like.device, like.dtype)[:, None]
