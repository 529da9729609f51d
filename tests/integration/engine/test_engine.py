"""The engine with the real model class, in float32 on the CPU, where equal input gives bitwise equal output."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from engine import (
    DEVICE_LOST,
    Delta,
    DeviceLost,
    Engine,
    EngineLoop,
    Event,
    Failed,
    Finished,
    Request,
    SamplingParams,
    SequenceError,
    Token,
)
from engine.debug import inspect
from engine.loading.model_loader import LoadedModel
from engine.runner.device import is_device_error
from testing.engine import (
    GREEDY,
    INPUT_NAMES,
    SAMPLED,
    assert_equal_up_to_a_phase_token,
    generated_by_transformers,
    inputs_of,
    request,
    run,
    run_until_idle,
    tokens_of,
)

SHORT_CONTEXT = 256
"""A request without a budget reaches its end soon."""
SHORT_AND_FULL_CONTEXT = pytest.mark.parametrize(
    "context", [SHORT_CONTEXT, pytest.param(2_048, marks=pytest.mark.slow)]
)


@pytest.mark.parametrize("name", INPUT_NAMES)
def test_greedy_tokens_equal_those_of_transformers_generate(pocket_engine: Engine, name: str) -> None:
    inputs = inputs_of(pocket_engine, name)
    reference = generated_by_transformers(pocket_engine, inputs)
    deltas, _ = run(pocket_engine, request(inputs, budget=50, sampling=GREEDY))
    ours = [token.id for token in tokens_of(deltas)]
    assert_equal_up_to_a_phase_token(ours, reference, pocket_engine.tokenizer_info.special_tokens)
    assert len(set(reference)) > 10, "a model that repeats itself would prove little"


@SHORT_AND_FULL_CONTEXT
@pytest.mark.parametrize("budget", [0, 1, -1])
@pytest.mark.parametrize("name", ["text", "two images"])
def test_each_budget_gives_an_answer_with_one_prefill_and_one_encoding(
    pocket_model: LoadedModel, budget: int, name: str, context: int
) -> None:
    engine = Engine(replace(pocket_model, context_tokens=context))
    deltas, end = run(engine, request(inputs_of(engine, name), budget=budget))
    assert end.num_prefills == 1
    assert inspect(engine).prefills == 1
    assert engine.stats().encoded_media == (0 if name == "text" else 2)
    assert end.answer_tokens > 0
    assert any(delta.phase == "answer" and delta.text for delta in deltas)
    if budget >= 0:
        assert end.thinking_tokens <= budget + 3
    else:
        assert end.truncation_reason is not None


def test_closing_the_thinking_takes_no_step_of_its_own(pocket_engine: Engine) -> None:
    """The reference script computes prompt and thinking again; here the closing text is three more rows."""
    inputs = inputs_of(pocket_engine, "two images")
    before = pocket_engine.stats().steps
    deltas, end = run(pocket_engine, request(inputs, budget=20, answer=20))
    tokens = tokens_of(deltas)
    assert sum(token.forced for token in tokens) == len(pocket_engine.tokenizer_info.special_tokens.closing) == 3
    assert pocket_engine.stats().steps - before == sum(not token.forced for token in tokens)
    assert end.truncation_reason == "budget"


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", ["text", "an image"])
def test_a_generation_resumed_at_every_seventh_token_has_the_same_output(
    pocket_engine: Engine, name: str, sampling: SamplingParams
) -> None:
    inputs = inputs_of(pocket_engine, name)
    deltas, whole = run(pocket_engine, request(inputs, sampling=sampling))
    tokens = tokens_of(deltas)
    for cut in range(1, len(tokens), 7):
        more, resumed = run(pocket_engine, request(inputs, sampling=sampling, journal=tuple(tokens[:cut])))
        assert [*tokens[:cut], *tokens_of(more)] == tokens
        assert (resumed.thinking, resumed.answer) == (whole.thinking, whole.answer)
        assert (resumed.thinking_tokens, resumed.answer_tokens) == (whole.thinking_tokens, whole.answer_tokens)
        assert resumed.finish_reason == whole.finish_reason
        assert resumed.num_prefills == 1


def test_a_complete_journal_finishes_without_sampling(pocket_engine: Engine) -> None:
    inputs = inputs_of(pocket_engine, "text")
    deltas, whole = run(pocket_engine, request(inputs))
    more, resumed = run(pocket_engine, request(inputs, journal=tuple(tokens_of(deltas))))
    assert more == []
    assert resumed.num_prefills == 0
    assert resumed.answer == whole.answer


def test_the_streamed_text_is_the_final_text(pocket_engine: Engine) -> None:
    deltas, end = run(pocket_engine, request(inputs_of(pocket_engine, "an image"), budget=60, answer=60))
    for phase, text in (("thinking", end.thinking), ("answer", end.answer)):
        streamed = "".join(delta.text for delta in deltas if delta.phase == phase)
        assert text == streamed.strip()


def test_the_same_seed_gives_the_same_tokens_and_another_seed_does_not(pocket_engine: Engine) -> None:
    inputs = inputs_of(pocket_engine, "text")
    one, again = (tokens_of(run(pocket_engine, request(inputs))[0]) for _ in range(2))
    other = replace(SAMPLED, seed=8)
    assert one == again
    assert tokens_of(run(pocket_engine, request(inputs, sampling=other))[0]) != one


def test_an_aborted_sequence_finishes_with_its_tokens_and_frees_the_engine(pocket_engine: Engine) -> None:
    events: list[Event] = []
    inputs = inputs_of(pocket_engine, "text")
    pocket_engine.submit(request(inputs, budget=200), events.append)
    waiting: list[Event] = []
    pocket_engine.submit(Request("other", inputs, 4, 4, SAMPLED), waiting.append)
    for _ in range(5):
        pocket_engine.step()
    assert pocket_engine.abort("other")
    assert pocket_engine.abort("r")
    assert not pocket_engine.abort("r")
    assert pocket_engine.is_idle
    assert isinstance(events[-1], Finished)
    assert events[-1].finish_reason == "aborted"
    assert events[-1].thinking_tokens + events[-1].answer_tokens >= 1
    assert isinstance(waiting[-1], Finished)
    assert waiting[-1].finish_reason == "aborted"


def test_a_sequence_with_nan_fails_alone(pocket_engine: Engine) -> None:
    broken = inputs_of(pocket_engine, "an image")
    assert broken.pixel_values is not None
    broken.pixel_values.fill_(float("nan"))
    broken = replace(broken, mm_hashes=())
    failed: list[Event] = []
    fine: list[Event] = []
    pocket_engine.submit(request(broken), failed.append)
    pocket_engine.submit(Request("fine", inputs_of(pocket_engine, "text"), 4, 4, SAMPLED), fine.append)
    run_until_idle(pocket_engine)
    assert [type(event) for event in failed] == [Failed]
    assert isinstance(failed[0], Failed)
    assert failed[0].code == "model_nan"
    assert isinstance(fine[-1], Finished)


def test_a_sequence_with_a_wrong_tensor_fails_alone(pocket_engine: Engine) -> None:
    good = inputs_of(pocket_engine, "an image")
    assert good.pixel_values is not None
    bad = replace(good, pixel_values=good.pixel_values[:-4], mm_hashes=())
    events: list[Event] = []
    pocket_engine.submit(request(bad), events.append)
    pocket_engine.step()
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "engine_error"
    assert pocket_engine.is_idle


@pytest.mark.parametrize(("budget", "answer"), [(2_000, 16), (0, 2_048), (-1, 2_040)])
def test_a_request_that_does_not_fit_the_context_is_rejected_before_any_work(
    pocket_engine: Engine, budget: int, answer: int
) -> None:
    before = inspect(pocket_engine).prefills
    with pytest.raises(SequenceError, match=r"is \d+ tokens too long for the model's context of 2048") as refusal:
        pocket_engine.submit(
            request(inputs_of(pocket_engine, "an image"), budget=budget, answer=answer), lambda _: None
        )
    assert refusal.value.code == "context_exceeded"
    assert inspect(pocket_engine).prefills == before


@SHORT_AND_FULL_CONTEXT
def test_thinking_without_a_budget_leaves_room_for_the_answer(pocket_model: LoadedModel, context: int) -> None:
    engine = Engine(replace(pocket_model, context_tokens=context))
    inputs = inputs_of(engine, "text")
    answer = context - len(inputs) - 40
    deltas, end = run(engine, request(inputs, budget=-1, answer=answer))
    assert len(inputs) + len(tokens_of(deltas)) <= context
    assert end.truncation_reason == "context"
    assert end.finish_reason in ("stop", "length", "repetition")


def test_the_loop_serves_many_threads(pocket_engine: Engine) -> None:
    loop = EngineLoop(pocket_engine)
    loop.start()
    inputs = inputs_of(pocket_engine, "text")
    ends: dict[str, Event] = {}
    done = threading.Event()

    def listener(name: str) -> Any:
        def on_event(event: Event) -> None:
            if not isinstance(event, Delta):
                ends[name] = event
                if len(ends) == 6:
                    done.set()

        return on_event

    threads = [
        threading.Thread(target=loop.submit, args=(Request(str(number), inputs, 8, 8, SAMPLED), listener(str(number))))
        for number in range(5)
    ]
    for thread in threads:
        thread.start()
    loop.submit(Request("rejected", inputs, 5_000, 8, SAMPLED), listener("rejected"))
    assert done.wait(30)
    assert isinstance(ends.pop("rejected"), Failed)
    assert all(isinstance(end, Finished) for end in ends.values())
    assert loop.stop(timeout_s=10)


class EngineWithFailingDevice(Engine):
    """Loses its device in the third step."""

    def step(self) -> None:
        super().step()
        if self.stats().steps == 3:
            raise DeviceLost("CUDA error: an illegal memory access was encountered")


def test_a_lost_device_fails_all_sequences_and_later_requests(pocket_model: LoadedModel) -> None:
    reasons: list[str] = []
    lost = threading.Event()

    def on_lost(reason: str) -> None:
        reasons.append(reason)
        lost.set()

    engine = EngineWithFailingDevice(pocket_model)
    inputs = inputs_of(engine, "text")
    loop = EngineLoop(engine, on_lost=on_lost)
    events: list[Event] = []
    for number in range(3):
        loop.submit(Request(str(number), inputs, 100, 8, SAMPLED), events.append)
    loop.start()
    assert lost.wait(30)
    after = threading.Event()
    late: list[Event] = []

    def receive(event: Event) -> None:
        late.append(event)
        after.set()

    loop.submit(Request("late", inputs, 8, 8, SAMPLED), receive)
    assert after.wait(30)
    assert loop.stop(timeout_s=10)
    failed = [event for event in [*events, *late] if isinstance(event, Failed)]
    assert [event.code for event in failed] == [DEVICE_LOST] * 4
    assert "illegal memory access" in failed[0].message
    assert len(reasons) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("shape '[2, 3]' is invalid for input of size 7"), False),
        (ValueError("CUDA"), False),
    ],
)
def test_only_cuda_errors_count_as_a_lost_device(error: Exception, expected: bool) -> None:
    assert is_device_error(error) is expected


def test_box_tokens_are_stripped_or_kept_and_the_raw_output_has_all(pocket_engine: Engine) -> None:
    """The answer comes from a journal: an untrained model generates no boxes."""
    answer = "At <|begin_of_box|>[[1,2,3,4]]<|end_of_box|>, left."
    encode = pocket_engine.tokenizer_info.encode
    closing = [Token(token, forced=True) for token in pocket_engine.tokenizer_info.special_tokens.closing]
    sampled = [Token(token, forced=False) for token in encode(f"{answer}</answer>")]
    for keeps, expected in ((False, "At [[1,2,3,4]], left."), (True, answer)):
        inputs = inputs_of(pocket_engine, "an image")
        journal = (*closing, *sampled)
        _, end = run(pocket_engine, request(inputs, budget=0, answer=60, keep_box_tokens=keeps, journal=journal))
        assert end.answer == expected
        assert end.raw == f"</think>\n<answer>{answer}</answer>"
