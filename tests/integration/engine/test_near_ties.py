"""Tests that expect fixed tokens use seeds whose tokens are not sampled near a tie, where rounding could change them.

If this fails after a change of the untrained model or of the sampler, choose other seeds.
"""

import io
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from engine import Engine, Event, Finished, Request, SamplingParams
from engine.debug import observe_scores
from engine.runner.sampler import RowSampling, uniform
from testing.chaos.workload import MALFORMED, TEMPLATES
from testing.engine import run_until_idle
from testing.inputs.request_bodies import LONG_JOB, SHAPES_PNG

MIN_MARGIN = 1e-4
"""Measured over 39,000 samplings in batches of 2 to 14 and 4,000 after a resume: the logits of the most likely tokens
differ from those of a sequence alone by 4e-6 at the median and 2.3e-5 at most, so the distance of two of them changes
by up to twice that."""
LONG_BUDGET = 100
BODIES = [*(template for number, template in enumerate(TEMPLATES) if number != MALFORMED), LONG_JOB]


def margin(scores: torch.Tensor, row: RowSampling) -> float:
    """Return the distance to another token: as a share of the probability, or in logits between two ranks."""
    params = row.params
    assert params.top_p == 1
    values = (scores.double() / params.temperature).topk(params.top_k + 1).values
    cumulative = values[:-1].softmax(-1).cumsum(-1)
    threshold = uniform(params.seed, row.position) * cumulative[-1]
    chosen = int((cumulative <= threshold).sum())
    to_edges = (cumulative[:-1] - threshold).abs()
    to_ranks = (values[:-1] - values[1:])[max(0, chosen - 1) : chosen + 1]
    # The last rank separates the tokens that may be sampled from the others, for every row.
    return float(torch.cat([to_edges, to_ranks, values[-2:-1] - values[-1:]]).min())


def budget_of(body: dict[str, Any]) -> int:
    return int(body["thinking"]["budget_tokens"])


@pytest.mark.parametrize(
    "body",
    [pytest.param(body, marks=[pytest.mark.slow] if budget_of(body) > LONG_BUDGET else []) for body in BODIES],
    ids=[f"{budget_of(body)}-{body['sampling']['seed']}" for body in BODIES],
)
def test_no_token_is_sampled_near_a_tie(pocket_engine: Engine, body: dict[str, Any]) -> None:
    margins: list[float] = []

    def record(scores: torch.Tensor, rows: Sequence[RowSampling]) -> None:
        margins.extend(margin(one, row) for one, row in zip(scores, rows, strict=True))

    images = [Image.open(io.BytesIO(SHAPES_PNG)).convert("RGB")] if body is LONG_JOB else []
    penalty = pocket_engine.sampling_defaults.repetition_penalty
    sampling = SamplingParams(**{"repetition_penalty": penalty, **body["sampling"]})
    messages = [{"role": "user", "content": [_part(part) for part in body["messages"][0]["content"]]}]
    inputs = pocket_engine.prepare(messages, images)
    events: list[Event] = []
    pocket_engine.submit(Request("r", inputs, budget_of(body), body["max_answer_tokens"], sampling), events.append)
    with observe_scores(pocket_engine, record):
        run_until_idle(pocket_engine)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert len(margins) >= finished.thinking_tokens
    assert min(margins) > MIN_MARGIN


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image"} if part["type"] == "image_url" else part
