"""Answers that follow a JSON schema, from the untrained pocket model: it would never write JSON by itself."""

import json
from dataclasses import replace
from typing import Any

import pytest

from engine import Engine, EngineConfig, Finished, Request, SamplingParams, SequenceError
from engine.loading.model_loader import LoadedModel
from jobs.model.structured_output.response_format import answer_grammar, schema_problem
from testing.engine import INPUT_NAMES, SAMPLED, Batch, inputs_of, request, run, tokens_of
from testing.inputs.schemas import is_valid, random_schema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
HOT = replace(SAMPLED, temperature=1.5, top_p=1.0, top_k=0)


@pytest.fixture(scope="module", params=[False, True], ids=["sync", "async"])
def engine(pocket_model: LoadedModel, request: pytest.FixtureRequest) -> Engine:
    return Engine(pocket_model, EngineConfig(slots=6), async_scheduling=request.param)


def grammar_of(schema: dict[str, Any]) -> str:
    return answer_grammar({"type": "json_schema", "schema": schema})


def with_schema(
    engine: Engine, schema: dict[str, Any], *, name: str = "text", budget: int = 6, answer: int = 200, seed: int = 1
) -> Request:
    sampling: SamplingParams = replace(HOT, seed=seed)
    inputs = inputs_of(engine, name)
    return request(inputs, budget=budget, answer=answer, sampling=sampling, grammar=grammar_of(schema))


def check(end: Finished, schema: dict[str, Any]) -> bool:
    """Return whether the answer is complete; a complete one is valid."""
    assert end.finish_reason in ("stop", "length")
    if end.finish_reason == "length":
        return False
    value = json.loads(end.answer)
    assert is_valid(value, schema), (end.answer, schema)
    return True


def check_random_schemas(engine: Engine, count: int) -> None:
    """Generate under this many schemas, in batches of different schemas and media, beside free text."""
    complete, schemas = 0, {}
    for first in range(0, count, 20):
        batch = Batch(engine)
        for seed in range(first, min(first + 20, count)):
            schemas[str(seed)] = random_schema(seed)
            assert schema_problem(schemas[str(seed)]) == ""
            name = INPUT_NAMES[0] if seed % 5 else INPUT_NAMES[seed // 5 % len(INPUT_NAMES)]
            one = with_schema(engine, schemas[str(seed)], name=name, budget=seed % 4, seed=seed)
            batch.submit(replace(one, id=str(seed)))
        batch.submit(replace(request(inputs_of(engine, "text"), sampling=HOT), id="free"))
        batch.run()
        for seed_text, end in batch.finished.items():
            complete += seed_text != "free" and check(end, schemas[seed_text])
    assert complete > 0.9 * count


def test_random_schemas_give_valid_documents_or_cut_ones(engine: Engine) -> None:
    check_random_schemas(engine, 40)


@pytest.mark.slow
def test_a_thousand_random_schemas_give_valid_documents_or_cut_ones(pocket_engine: Engine) -> None:
    check_random_schemas(pocket_engine, 1_000)


def test_an_answer_under_a_schema_is_the_same_in_a_batch_and_alone(engine: Engine) -> None:
    requests = [
        replace(with_schema(engine, PERSON, name=name, seed=seed), id=f"{name} {seed}")
        for seed in (1, 2)
        for name in INPUT_NAMES
    ]
    alone = {one.id: tokens_of(run(engine, one)[0]) for one in requests}
    batch = Batch(engine)
    for number, one in enumerate(requests):
        batch.submit(one)
        batch.submit(replace(request(inputs_of(engine, "text"), budget=9, answer=30), id=f"free {number}"))
        engine.step()
    batch.run()
    assert {name: batch.tokens[name] for name in alone} == alone


def test_a_generation_resumed_at_every_token_follows_the_same_grammar(engine: Engine) -> None:
    one = with_schema(engine, PERSON, seed=4)  # with it two ids are nearly tied
    deltas, whole = run(engine, one)
    assert check(whole, PERSON)
    tokens = tokens_of(deltas)
    for cut in range(1, len(tokens) + 1):
        more, resumed = run(engine, replace(one, journal=tuple(tokens[:cut])))
        assert [*tokens[:cut], *tokens_of(more)] == tokens
        assert (resumed.answer, resumed.finish_reason) == (whole.answer, whole.finish_reason)


def test_a_journal_of_another_schema_is_refused(engine: Engine) -> None:
    one = with_schema(engine, PERSON, budget=0)
    deltas, _ = run(engine, one)
    other = with_schema(engine, {"type": "array", "items": {"type": "integer"}}, budget=0)
    with pytest.raises(SequenceError) as refused:
        engine.submit(replace(other, journal=tuple(tokens_of(deltas))), lambda _: None)
    assert refused.value.code == "journal_mismatch"


def test_thinking_is_free_text_and_the_grammar_begins_with_the_answer(engine: Engine) -> None:
    for seed in range(8):
        free = request(inputs_of(engine, "text"), budget=20, sampling=replace(HOT, seed=seed))
        _, plain = run(engine, free)
        _, end = run(engine, replace(free, max_answer_tokens=200, grammar=grammar_of(PERSON)))
        assert end.thinking == plain.thinking
        assert check(end, PERSON)


def test_a_document_that_does_not_fit_is_cut(engine: Engine) -> None:
    one = with_schema(engine, PERSON, answer=5)
    _, end = run(engine, one)
    assert (end.finish_reason, end.answer_tokens) == ("length", 5)
    assert end.answer.startswith('{"name"')
    _, whole = run(engine, replace(one, max_answer_tokens=200))
    _, exact = run(engine, replace(one, max_answer_tokens=whole.answer_tokens))
    assert (exact.finish_reason, exact.answer) == ("stop", whole.answer), "the last token completes the document"


def test_a_long_array_is_no_repetition(engine: Engine) -> None:
    schema = {"type": "array", "items": {"const": "the same item again"}, "minItems": 40, "maxItems": 40}
    _, end = run(engine, with_schema(engine, schema, answer=1_500))
    assert end.finish_reason == "stop"
    assert json.loads(end.answer) == ["the same item again"] * 40


def test_preempted_answers_follow_their_grammar(pocket_model: LoadedModel) -> None:
    short = replace(pocket_model, context_tokens=256)
    small = Engine(short, EngineConfig(slots=6, kv_cache_gib=400 * 2_048 / 2**30))
    wide = Engine(short, EngineConfig(slots=6))
    schema = {"type": "array", "items": {"enum": [True, False]}, "minItems": 50, "maxItems": 50}
    requests = [replace(with_schema(small, schema, answer=200, seed=seed), id=str(seed)) for seed in range(6)]
    batch = Batch(small)
    for one in requests:
        batch.submit(one)
    batch.run()
    assert small.stats().num_preemptions > 0, "the cache must be small enough"
    for end in batch.finished.values():
        assert end.finish_reason == "length" or len(json.loads(end.answer)) == 50
    for one in requests:
        assert batch.tokens[one.id] == tokens_of(run(wide, one)[0])


def test_a_grammar_that_is_not_valid_is_refused(engine: Engine) -> None:
    one = request(inputs_of(engine, "text"), grammar=grammar_of({"not": {"type": "string"}}))
    with pytest.raises(SequenceError, match="not") as refused:
        engine.submit(one, lambda _: None)
    assert refused.value.code == "grammar_failed"
