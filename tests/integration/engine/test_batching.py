"""Many sequences in one engine: each says what it would say alone, whatever joins, leaves or gives way beside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Delta, Engine, EngineConfig, Event, Failed, Finished, ModelInputs, Request, Token
from engine.loading.model_loader import LoadedModel, load
from families import FAMILIES
from tests.integration.engine.test_engine import (
    CASES,
    GREEDY,
    SAMPLED,
    generated_by_transformers,
    inputs_of,
    request,
    run,
    tokens_of,
)

NAMES = [*CASES, "a video"]


@pytest.fixture(scope="module")
def loaded(pocket_folder: Path) -> LoadedModel:
    return load(str(pocket_folder), revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"])


@pytest.fixture(scope="module", params=[False, True], ids=["read", "ahead"])
def engine(loaded: LoadedModel, request: Any) -> Engine:
    """With ``ahead`` as on a GPU: a step is launched before the tokens of the last one are read."""
    return Engine(loaded, EngineConfig(slots=6), async_scheduling=request.param)


@pytest.fixture(scope="module")
def alone(pocket_engine: Engine) -> dict[str, list[Token]]:
    """What each request says in an engine of its own."""
    return {one.id: tokens_of(run(pocket_engine, one)[0]) for one in requests(pocket_engine)}


def requests(engine: Engine) -> list[Request]:
    """A mix: text and media, greedy and sampled, thoughts that are cut at once, early, late and never."""
    kinds = [(-1, GREEDY), (0, SAMPLED), (7, SAMPLED), (24, GREEDY), (40, replace(SAMPLED, seed=3, top_k=2))]
    return [
        replace(
            request(inputs_of(engine, name), budget=budget, answer=12 + 3 * place, sampling=sampling),
            id=f"{name}, budget {budget}",
            max_answer_tokens=(12 + 3 * place) if budget >= 0 else 1_500,
        )
        for place, (budget, sampling) in enumerate(kinds)
        for name in NAMES
        if budget >= 0 or name == "a picture"
    ]


class Crowd:
    """Submits requests and keeps what each says."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tokens: dict[str, list[Token]] = {}
        self.ends: dict[str, Finished] = {}

    def submit(self, one: Request) -> None:
        self.tokens[one.id] = list(one.journal)

        def listen(event: Event) -> None:
            assert not isinstance(event, Failed), event
            if isinstance(event, Delta):
                self.tokens[one.id].extend(event.tokens)
            else:
                assert one.id not in self.ends, "an end comes once"
                self.ends[one.id] = event

        self.engine.submit(one, listen)

    def finish(self, limit: int = 20_000) -> None:
        for _ in range(limit):
            if self.engine.is_idle:
                break
            self.engine.step()
        assert self.engine.is_idle, "it has to end"
        assert_nothing_is_held(self.engine)


def assert_nothing_is_held(engine: Engine) -> None:
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.kv_free_tokens) == (0, 0, stats.kv_tokens)
    assert len(engine._scheduler._free_slots) == engine.slots


def test_a_full_batch_says_what_each_says_alone(engine: Engine, alone: dict[str, list[Token]]) -> None:
    crowd = Crowd(engine)
    for one in requests(engine):
        crowd.submit(one)
    crowd.finish()
    assert crowd.tokens == alone
    assert set(crowd.ends) == set(alone)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_in_a_full_batch_equal_those_of_transformers_generate(engine: Engine, name: str) -> None:
    crowd = Crowd(engine)
    for one in requests(engine)[:9]:
        crowd.submit(one)
    inputs = inputs_of(engine, name)
    crowd.submit(replace(request(inputs, budget=-1, sampling=GREEDY), id="this one"))
    crowd.finish()
    ours = [token.id for token in crowd.tokens["this one"]]
    generated = generated_by_transformers(engine, inputs)
    alike = next((i for i, (a, b) in enumerate(zip(ours, generated, strict=False)) if a != b), len(generated))
    special_tokens = engine.tokenizer_info.special_tokens
    if alike < len(generated):  # it goes its own way only where the stages say so: at a mark, or behind one
        assert generated[alike] in {
            *special_tokens.ends,
            special_tokens.answer_open,
            special_tokens.think_open,
            special_tokens.think_close,
        }


def test_late_comers_and_leavers_change_nothing_for_the_others(engine: Engine, alone: dict[str, list[Token]]) -> None:
    crowd = Crowd(engine)
    left: list[str] = []
    for number, one in enumerate(requests(engine)):
        crowd.submit(one)
        for _ in range(number % 5):
            engine.step()
        if number % 4 == 2 and engine.abort(one.id):
            left.append(one.id)
    crowd.finish()
    assert left
    for name, tokens in crowd.tokens.items():
        if name in left:
            assert crowd.ends[name].finish_reason == "aborted"
            assert tokens == alone[name][: len(tokens)]
        else:
            assert tokens == alone[name]


@pytest.mark.parametrize("async_scheduling", [False, True], ids=["read", "ahead"])
def test_a_cache_that_is_too_small_for_all_makes_the_youngest_give_way(
    loaded: LoadedModel, alone: dict[str, list[Token]], async_scheduling: bool
) -> None:
    small = Engine(loaded, EngineConfig(slots=6, kv_cache_gib=2_100 * 2_048 / 2**30), async_scheduling=async_scheduling)
    crowd = Crowd(small)
    wanted = {one.id: one for one in requests(small) if one.thinking_budget >= 0}
    long = [replace(one, max_answer_tokens=400, id=f"long {number}") for number, one in enumerate(wanted.values())]
    for one in long:
        crowd.submit(one)
    crowd.finish()
    assert small.stats().num_preemptions > 0, "the test must be tight"
    assert any(end.num_prefills > 1 for end in crowd.ends.values())
    for one, name in zip(long, wanted, strict=True):
        # The same request with a shorter answer says the beginning of it.
        alike = alone[name][: len(crowd.tokens[one.id])]
        assert crowd.tokens[one.id][: len(alike)] == alike


@pytest.mark.parametrize("chunk", [9, 64])
def test_a_prompt_read_in_chunks_says_the_same(loaded: LoadedModel, alone: dict[str, list[Token]], chunk: int) -> None:
    chunked = Engine(loaded, EngineConfig(slots=6, max_prefill_tokens=chunk))
    crowd = Crowd(chunked)
    for one in requests(chunked):
        crowd.submit(one)
    crowd.finish()
    assert crowd.tokens == alone


def test_resumed_sequences_in_a_full_batch_go_on_as_they_would_have(
    engine: Engine, alone: dict[str, list[Token]]
) -> None:
    crowd = Crowd(engine)
    for number, one in enumerate(requests(engine)):
        crowd.submit(replace(one, journal=tuple(alone[one.id][: 1 + 7 * (number % 4)])))
    crowd.finish()
    assert crowd.tokens == alone


def test_a_picture_is_looked_at_once_for_all_who_ask_about_it(loaded: LoadedModel) -> None:
    fresh = Engine(loaded, EngineConfig(slots=4))
    crowd = Crowd(fresh)
    for number in range(5):
        crowd.submit(replace(request(inputs_of(fresh, "two pictures"), budget=4, answer=4), id=str(number)))
    crowd.finish()
    assert fresh.stats().encoded_media == 2


def test_the_device_time_is_shared_among_those_who_use_it(engine: Engine) -> None:
    crowd = Crowd(engine)
    for one in requests(engine)[:6]:
        crowd.submit(one)
    crowd.finish()
    assert all(end.device_ms > 0 for end in crowd.ends.values())
    longest = max(end.prefill_ms + end.decode_ms for end in crowd.ends.values())
    assert sum(end.device_ms for end in crowd.ends.values()) <= 1.5 * longest


def test_reading_the_prompt_is_part_of_the_time_that_is_told(engine: Engine) -> None:
    """Of one that is alone, and says hardly anything: the device worked for it between its begin and its end."""
    crowd = Crowd(engine)
    crowd.submit(request(inputs_of(engine, "two pictures"), budget=1, answer=1))
    crowd.finish()
    (end,) = crowd.ends.values()
    assert end.device_ms <= 1.1 * (end.prefill_ms + end.decode_ms)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 15)),
        st.tuples(st.just("abort"), st.integers(0, 15)),
        st.tuples(st.just("step"), st.integers(1, 6)),
    ),
    max_size=40,
)


@pytest.fixture(scope="module", params=[False, True], ids=["read", "ahead"])
def tight(loaded: LoadedModel, request: Any) -> Engine:
    return Engine(
        loaded,
        EngineConfig(slots=3, kv_cache_gib=2_100 * 2_048 / 2**30, max_prefill_tokens=40),
        async_scheduling=request.param,
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_any_order_of_submits_aborts_and_steps_ends_and_mixes_nothing(
    tight: Engine, alone: dict[str, list[Token]], actions: list[tuple[str, int]]
) -> None:
    known = [one for one in requests(tight) if one.thinking_budget >= 0][:16]
    crowd = Crowd(tight)
    aborted: set[str] = set()
    for action, number in actions:
        name = known[number % len(known)].id
        if action == "submit" and name not in crowd.tokens:
            crowd.submit(known[number % len(known)])
        elif action == "abort" and tight.abort(name):
            aborted.add(name)
        elif action == "step":
            for _ in range(number):
                tight.step()
    crowd.finish()
    assert set(crowd.ends) == set(crowd.tokens)
    for name, tokens in crowd.tokens.items():
        assert tokens == (alone[name][: len(tokens)] if name in aborted else alone[name])


def test_inputs_without_digests_are_looked_at_anew(engine: Engine) -> None:
    inputs: ModelInputs = replace(inputs_of(engine, "a picture"), mm_hashes=())
    before = engine.stats().encoded_media
    for _ in range(2):
        run(engine, request(inputs, budget=2, answer=2))
    assert engine.stats().encoded_media == before + 2
