"""One limit over thinking and answer: the answer gets what the thinking leaves, also in a batch and after a resume."""

from dataclasses import replace

import pytest

from engine import Engine, EngineConfig, Request, SequenceError
from engine.loading.model_loader import LoadedModel
from testing.engine import GREEDY, SAMPLED, Batch, inputs_of, request, run, tokens_of


@pytest.fixture(scope="module", params=[False, True], ids=["sync", "async"])
def engine(pocket_model: LoadedModel, request: pytest.FixtureRequest) -> Engine:
    return Engine(pocket_model, EngineConfig(slots=6), async_scheduling=request.param)


def with_total(engine: Engine, total: int, budget: int, *, sampling: object = GREEDY) -> Request:
    inputs = inputs_of(engine, "an image")
    one = request(inputs, budget=budget, answer=1_000, sampling=sampling, max_total_tokens=total)  # type: ignore[arg-type]
    return replace(one, id=f"{total}, {budget}")


def test_thinking_and_answer_together_have_at_most_the_total(engine: Engine) -> None:
    batch = Batch(engine)
    for total, budget in ((30, 12), (40, -1), (2, 1), (1, 0), (25, 500)):
        batch.submit(with_total(engine, total, budget))
    batch.run()
    for name, end in batch.finished.items():
        total = int(name.split(",")[0])
        assert end.answer_tokens >= 1, name
        if end.finish_reason == "length":
            assert end.thinking_tokens + end.answer_tokens == total, name
        assert end.thinking_tokens + end.answer_tokens <= total, name
    assert {end.finish_reason for end in batch.finished.values()} >= {"length"}


def test_a_generation_with_a_total_resumed_at_every_seventh_token_has_the_same_output(engine: Engine) -> None:
    one = with_total(engine, 40, 20, sampling=SAMPLED)
    deltas, whole = run(engine, one)
    tokens = tokens_of(deltas)
    for cut in range(1, len(tokens), 7):
        more, resumed = run(engine, replace(one, journal=tuple(tokens[:cut])))
        assert [*tokens[:cut], *tokens_of(more)] == tokens
        assert (resumed.finish_reason, resumed.answer_tokens) == (whole.finish_reason, whole.answer_tokens)


def test_a_request_needs_room_for_its_total_only(pocket_model: LoadedModel) -> None:
    short = Engine(replace(pocket_model, context_tokens=256))
    inputs = inputs_of(short, "text")
    room = 256 - len(inputs) - len(short.tokenizer_info.special_tokens.closing) - 4
    fits = request(inputs, budget=room - 30, answer=10_000, max_total_tokens=room)
    _, end = run(short, fits)
    assert end.input_tokens + end.thinking_tokens + end.answer_tokens <= 256
    with pytest.raises(SequenceError, match="1 tokens too long"):
        short.submit(replace(fits, max_total_tokens=room + 1), lambda _: None)
