"""Sampling: the same tokens from scores that differ by rounding, and the probabilities that the parameters ask for."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from engine.request import SamplingParams
from engine.runner.sampler import RowSampling, sample

VOCAB_SIZE = 64
PLAIN = SamplingParams(temperature=1, top_p=1, top_k=0, repetition_penalty=1, seed=0)
KINDS = {
    "all tokens": PLAIN,
    "top-k": replace(PLAIN, top_k=20),
    "top-p": replace(PLAIN, top_p=0.9),
    "top-k and top-p": replace(PLAIN, temperature=0.7, top_k=20, top_p=0.95),
}
ROUNDING = 7e-6
"""Difference of a score between a resume and an undisturbed run that was seen in float32."""


def draw(scores: torch.Tensor, params: SamplingParams, seeds: range, mask: bytes | None = None) -> list[int]:
    rows = [RowSampling(replace(params, seed=seed), 5, (), mask) for seed in seeds]
    return [int(one) for one in sample(scores.expand(len(rows), -1), None, rows)]


@pytest.mark.parametrize("has_grammar", [False, True], ids=["free", "grammar"])
@pytest.mark.parametrize("params", KINDS.values(), ids=KINDS)
def test_rounding_that_exchanges_nearly_tied_scores_changes_no_token(params: SamplingParams, has_grammar: bool) -> None:
    scores = torch.linspace(3, -3, VOCAB_SIZE)[torch.randperm(VOCAB_SIZE, generator=torch.manual_seed(2))]
    first, second = (int(one) for one in scores.topk(2).indices)
    scores[second] = scores[first] - ROUNDING / 2
    rounded = scores.clone()
    rounded[second] += ROUNDING
    assert scores.argmax() != rounded.argmax(), "the two must change ranks"
    mask = (b"\xff" * (VOCAB_SIZE // 8)) if has_grammar else None
    tokens = draw(scores, params, range(2_000), mask)
    assert {first, second} <= set(tokens)
    assert draw(rounded, params, range(2_000), mask) == tokens


@pytest.mark.parametrize("params", KINDS.values(), ids=KINDS)
def test_tokens_are_drawn_by_their_probabilities_among_those_that_are_kept(params: SamplingParams) -> None:
    scores = torch.randn(VOCAB_SIZE, generator=torch.manual_seed(3)) * 2
    ranked = sorted(range(VOCAB_SIZE), key=lambda one: -float(scores[one]))[: params.top_k or None]
    weights = {one: math.exp(float(scores[one]) / params.temperature) for one in ranked}
    total, seen = sum(weights.values()), 0.0
    kept: dict[int, float] = {}
    for one, weight in weights.items():
        if not kept or seen < params.top_p:
            kept[one] = weight
        seen += weight / total
    count = 20_000
    found = Counter(draw(scores, params, range(count)))
    assert set(found) <= set(kept)
    for one, weight in kept.items():
        share = weight / sum(kept.values())
        assert found[one] / count == pytest.approx(share, abs=5 * math.sqrt(share / count))


def test_a_row_draws_the_same_beside_rows_with_other_limits() -> None:
    scores = torch.randn(len(KINDS), VOCAB_SIZE, generator=torch.manual_seed(4))
    for seed in range(200):
        rows = [RowSampling(replace(params, seed=seed), 5, ()) for params in KINDS.values()]
        alone = [int(sample(scores[at : at + 1], None, [row])) for at, row in enumerate(rows)]
        assert sample(scores, None, rows).tolist() == alone
