"""Stop strings in the engine, with the real model: across token borders, in a batch, and after a resume."""

from dataclasses import replace

import pytest

from engine import Delta, Engine, EngineConfig, Finished, Phase, Request
from engine.loading.model_loader import LoadedModel
from testing.engine import INPUT_NAMES, SAMPLED, Batch, inputs_of, request, run, tokens_of


@pytest.fixture(scope="module", params=[False, True], ids=["sync", "async"])
def engine(pocket_model: LoadedModel, request: pytest.FixtureRequest) -> Engine:
    return Engine(pocket_model, EngineConfig(slots=4), async_scheduling=request.param)


def answer_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if delta.phase is Phase.ANSWER)


def with_stop(engine: Engine, name: str, seed: int) -> tuple[Request, str, list[str]]:
    """Return a request with a stop string that begins and ends inside tokens of its answer, and both ways to end."""
    one = replace(request(inputs_of(engine, name), budget=9, answer=40, sampling=replace(SAMPLED, seed=seed)), id=name)
    deltas, _ = run(engine, one)
    text = answer_of(deltas)
    middle = len(text) // 2
    stop = text[middle : middle + 7]
    assert stop.strip(), "the answer must be long enough"
    return replace(one, stop=(stop, "never in an answer")), stop, [text[: text.index(stop)]]


def test_an_answer_ends_before_its_stop_string_and_the_stream_never_shows_a_part(engine: Engine) -> None:
    wanted = {}
    batch = Batch(engine)
    for seed, name in enumerate(INPUT_NAMES):
        one, stop, (text,) = with_stop(engine, name, seed)
        wanted[name] = (stop, text)
        deltas, end = run(engine, one)
        assert answer_of(deltas) == text
        assert (end.answer, end.finish_reason, end.stop_string) == (text.strip(), "stop", stop)
        batch.submit(one)
    batch.run()
    assert {name: (end.stop_string, end.answer) for name, end in batch.finished.items()} == {
        name: (stop, text.strip()) for name, (stop, text) in wanted.items()
    }


def test_a_resumed_generation_ends_before_the_same_stop_string(engine: Engine) -> None:
    one, _, _ = with_stop(engine, "text", 5)
    deltas, whole = run(engine, one)
    for cut in range(1, len(deltas) + 1):
        before, journal = deltas[:cut], tuple(tokens_of(deltas[:cut]))
        after, resumed = run(engine, replace(one, journal=journal))
        assert answer_of(before) + answer_of(after) == answer_of(deltas)
        assert (resumed.answer, resumed.finish_reason, resumed.stop_string) == (
            whole.answer,
            whole.finish_reason,
            whole.stop_string,
        )


def test_text_that_was_held_back_is_shown_when_the_answer_ends_otherwise(engine: Engine) -> None:
    one = request(inputs_of(engine, "text"), budget=4, answer=12)
    deltas, plain = run(engine, one)
    text = answer_of(deltas)
    held = replace(one, stop=(text[-3:] + "…",))
    deltas, end = run(engine, held)
    assert (answer_of(deltas), end.answer) == (text, plain.answer)
    assert (end.finish_reason, end.stop_string) == ("length", None)
    _, resumed = run(engine, replace(held, journal=tuple(tokens_of(deltas))))
    assert resumed.answer == plain.answer


def test_an_aborted_answer_has_the_text_that_was_shown(engine: Engine) -> None:
    one = request(inputs_of(engine, "text"), budget=4, answer=30)
    text = answer_of(run(engine, one)[0])
    events: list[object] = []
    engine.submit(replace(one, stop=(text[:12] + "…",)), events.append)
    while sum(len(event.tokens) for event in events if isinstance(event, Delta) and event.phase is Phase.ANSWER) < 4:
        engine.step()
    engine.abort(one.id)
    assert isinstance(events[-1], Finished)
    assert events[-1].answer == answer_of([event for event in events if isinstance(event, Delta)]).strip()


def test_stop_strings_do_not_affect_the_thinking(engine: Engine) -> None:
    one = request(inputs_of(engine, "text"), budget=12, answer=1)
    deltas, plain = run(engine, one)
    thinking = "".join(delta.text for delta in deltas if delta.phase is Phase.THINKING)
    _, end = run(engine, replace(one, stop=(thinking[2:6],)))
    assert (end.thinking, end.thinking_tokens) == (plain.thinking, plain.thinking_tokens)
