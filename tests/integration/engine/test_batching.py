"""Many sequences in one engine: each generates what it generates alone, whatever joins, leaves or is preempted."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Engine, EngineConfig, Request, Token
from engine.loading.model_loader import LoadedModel
from testing.engine import (
    GREEDY,
    INPUT_NAMES,
    Batch,
    assert_equal_up_to_a_phase_token,
    generated_by_transformers,
    inputs_of,
    mixed_requests,
    request,
    run,
    tokens_of,
)

SHORT_CONTEXT = 256
"""A request without a budget reaches its end soon."""
SMALL_CACHE_TOKENS = 400
"""Two or three of the sequences with a short answer."""
BOTH_MODES = pytest.mark.parametrize("async_scheduling", [False, True], ids=["sync", "async"])


@dataclass(frozen=True)
class Workload:
    """A model, a mix of requests, and the output of each request when it runs alone."""

    model: LoadedModel
    requests: list[Request]
    alone: dict[str, list[Token]]
    is_full: bool
    """The model's full context and all requests in every test; otherwise a short context, and some requests."""

    def some(self, start: int, stop: int | None = None) -> list[Request]:
        """Return these requests, and all of them if the workload is full."""
        return self.requests if self.is_full else self.requests[start:stop]


def new_workload(model: LoadedModel, *, is_full: bool) -> Workload:
    engine = Engine(model)
    requests = mixed_requests(engine, unlimited_answer=1_500 if is_full else 40)
    alone = {one.id: tokens_of(run(engine, one)[0]) for one in requests}
    return Workload(model, requests, alone, is_full)


@pytest.fixture(scope="module")
def short(pocket_model: LoadedModel) -> Workload:
    return new_workload(replace(pocket_model, context_tokens=SHORT_CONTEXT), is_full=False)


@pytest.fixture(scope="module")
def full(pocket_model: LoadedModel) -> Workload:
    return new_workload(pocket_model, is_full=True)


@pytest.fixture(scope="module", params=["short", pytest.param("full", marks=pytest.mark.slow)])
def workload(request: Any) -> Workload:
    chosen: Workload = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="module", params=[False, True], ids=["sync", "async"])
def engine(workload: Workload, request: Any) -> Engine:
    """``async`` is the mode of a GPU: a step is launched before the tokens of the last one are read."""
    return Engine(workload.model, EngineConfig(slots=6), async_scheduling=request.param)


@pytest.fixture(scope="module")
def reference(pocket_engine: Engine) -> dict[str, list[int]]:
    return {name: generated_by_transformers(pocket_engine, inputs_of(pocket_engine, name)) for name in INPUT_NAMES}


def small_cache(tokens: int) -> float:
    """Return the GiB of a cache for this many tokens, of 2,048 bytes each."""
    return tokens * 2_048 / 2**30


def test_a_full_batch_generates_what_each_request_generates_alone(engine: Engine, workload: Workload) -> None:
    batch = Batch(engine)
    for one in reversed(workload.requests):  # the longest first, so that it runs beside the others
        batch.submit(one)
    batch.run()
    assert batch.tokens == workload.alone
    assert set(batch.finished) == set(workload.alone)
    reasons = {end.truncation_reason for end in batch.finished.values()}
    assert {"budget", "context"} <= reasons, "the mix must reach both limits"


def test_greedy_tokens_in_a_full_batch_equal_those_of_transformers_generate(
    engine: Engine, workload: Workload, reference: dict[str, list[int]]
) -> None:
    batch = Batch(engine)
    for number, name in enumerate(INPUT_NAMES):
        batch.submit(workload.requests[number])
        batch.submit(replace(request(inputs_of(engine, name), budget=50, sampling=GREEDY), id=name))
    batch.run()
    for name in INPUT_NAMES:
        ours = [token.id for token in batch.tokens[name]]
        assert_equal_up_to_a_phase_token(ours, reference[name], engine.tokenizer_info.special_tokens)


def test_sequences_that_join_late_or_leave_early_change_nothing_for_the_others(
    engine: Engine, workload: Workload
) -> None:
    batch = Batch(engine)
    aborted: list[str] = []
    for number, one in enumerate(workload.requests):
        batch.submit(one)
        for _ in range(number % 5):
            engine.step()
        if number % 4 == 2 and engine.abort(one.id):
            aborted.append(one.id)
    batch.run()
    assert aborted
    for name, tokens in batch.tokens.items():
        if name in aborted:
            assert batch.finished[name].finish_reason == "aborted"
            assert tokens == workload.alone[name][: len(tokens)]
        else:
            assert tokens == workload.alone[name]


@BOTH_MODES
def test_a_cache_that_is_too_small_preempts_and_changes_no_output(workload: Workload, async_scheduling: bool) -> None:
    cache_tokens, answer = (2_100, 400) if workload.is_full else (SMALL_CACHE_TOKENS, 60)
    config = EngineConfig(slots=6, kv_cache_gib=small_cache(cache_tokens))
    small = Engine(workload.model, config, async_scheduling=async_scheduling)
    batch = Batch(small)
    originals = [one for one in workload.some(6, 18) if one.thinking_budget >= 0]
    for one in originals:
        batch.submit(replace(one, max_answer_tokens=answer))
    batch.run()
    assert small.stats().num_preemptions > 0, "the cache must be small enough"
    assert any(end.num_prefills > 1 for end in batch.finished.values())
    for one in originals:
        # The same request with a shorter answer generates the beginning.
        alike = workload.alone[one.id][: len(batch.tokens[one.id])]
        assert batch.tokens[one.id][: len(alike)] == alike


@pytest.mark.parametrize("chunk", [9, 64])
def test_a_prompt_computed_in_chunks_gives_the_same_output(workload: Workload, chunk: int) -> None:
    batch = Batch(Engine(workload.model, EngineConfig(slots=6, max_prefill_tokens=chunk)))
    for one in workload.some(6, 18):
        batch.submit(one)
    batch.run()
    assert batch.tokens == {name: workload.alone[name] for name in batch.tokens}


def test_sequences_resumed_in_a_full_batch_continue_as_they_would_have(engine: Engine, workload: Workload) -> None:
    batch = Batch(engine)
    for number, one in enumerate(workload.some(6)):
        batch.submit(replace(one, journal=tuple(workload.alone[one.id][: 1 + 7 * (number % 4)])))
    batch.run()
    assert batch.tokens == {name: workload.alone[name] for name in batch.tokens}


def test_an_image_is_encoded_once_for_all_requests(pocket_model: LoadedModel) -> None:
    engine = Engine(pocket_model, EngineConfig(slots=4))
    batch = Batch(engine)
    for number in range(5):
        batch.submit(replace(request(inputs_of(engine, "two images"), budget=4, answer=4), id=str(number)))
    batch.run()
    assert engine.stats().encoded_media == 2


def test_inputs_without_hashes_are_encoded_again(engine: Engine) -> None:
    inputs = replace(inputs_of(engine, "an image"), mm_hashes=())
    before = engine.stats().encoded_media
    for _ in range(2):
        run(engine, request(inputs, budget=2, answer=2))
    assert engine.stats().encoded_media == before + 2


def test_device_time_is_shared_among_the_sequences_of_a_batch(engine: Engine, workload: Workload) -> None:
    batch = Batch(engine)
    for one in workload.requests[:6]:
        batch.submit(one)
    batch.run()
    assert all(end.device_ms > 0 for end in batch.finished.values())
    longest = max(end.prefill_ms + end.decode_ms for end in batch.finished.values())
    assert sum(end.device_ms for end in batch.finished.values()) <= 1.5 * longest


def test_prefill_is_part_of_the_reported_time(engine: Engine) -> None:
    """A sequence that is alone and short: the device worked for it between its first pass and its end."""
    batch = Batch(engine)
    batch.submit(request(inputs_of(engine, "two images"), budget=1, answer=1))
    batch.run()
    (end,) = batch.finished.values()
    assert end.device_ms <= 1.1 * (end.prefill_ms + end.decode_ms)


ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 15)),
    st.tuples(st.just("abort"), st.integers(0, 15)),
    st.tuples(st.just("step"), st.integers(1, 6)),
)
SHARED_ENGINE = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module", params=[False, True], ids=["sync", "async"])
def small(short: Workload, request: Any) -> Engine:
    config = EngineConfig(slots=3, kv_cache_gib=small_cache(SMALL_CACHE_TOKENS), max_prefill_tokens=40)
    return Engine(short.model, config, async_scheduling=request.param)


def check_any_order(engine: Engine, workload: Workload, actions: list[tuple[str, int]]) -> None:
    known = [one for one in workload.requests if one.thinking_budget >= 0][:16]
    batch = Batch(engine)
    aborted: set[str] = set()
    for action, number in actions:
        name = known[number % len(known)].id
        if action == "submit" and name not in batch.tokens:
            batch.submit(known[number % len(known)])
        elif action == "abort" and engine.abort(name):
            aborted.add(name)
        elif action == "step":
            for _ in range(number):
                engine.step()
    batch.run()
    assert set(batch.finished) == set(batch.tokens)
    for name, tokens in batch.tokens.items():
        alone = workload.alone[name]
        assert tokens == (alone[: len(tokens)] if name in aborted else alone)


@settings(max_examples=8, deadline=None, suppress_health_check=SHARED_ENGINE)
@given(actions=st.lists(ACTIONS, max_size=20))
def test_any_order_of_submits_aborts_and_steps_keeps_the_sequences_apart(
    small: Engine, short: Workload, actions: list[tuple[str, int]]
) -> None:
    check_any_order(small, short, actions)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=SHARED_ENGINE)
@given(actions=st.lists(ACTIONS, max_size=40))
def test_long_sequences_of_submits_aborts_and_steps_keep_the_sequences_apart(
    small: Engine, short: Workload, actions: list[tuple[str, int]]
) -> None:
    check_any_order(small, short, actions)
