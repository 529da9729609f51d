"""The prefix cache: sequences that begin alike skip what is computed, and generate the same tokens as without it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from engine import Engine, EngineConfig, ModelInputs, Request, Token
from engine.core.block_pool import BLOCK_SIZE
from engine.events import Failed
from engine.loading.model_loader import LoadedModel
from testing.engine import GREEDY, SAMPLED, Batch, image, inputs_of, mixed_requests, request, run, tokens_of, user

LONG = "How many red circles are there, and how many blue ones? " * 8
BOTH_MODES = pytest.mark.parametrize("async_scheduling", [False, True], ids=["sync", "async"])


def new_engine(model: LoadedModel, *, is_async: bool = False, cache: bool = True, **limits: Any) -> Engine:
    config = EngineConfig(slots=6, prefix_cache=cache, **limits)
    return Engine(model, config, async_scheduling=is_async)


def conversation(engine: Engine, colour: str = "red", *later: Image.Image) -> ModelInputs:
    """A long question on an image, and further images."""
    parts = ["Look.", None, LONG, *(part for _ in later for part in (None, "And this one?"))]
    return engine.prepare(user(*parts), [image(colour), *later])


def hits_of(engine: Engine, one: Request) -> tuple[list[Token], int]:
    """Run a request; return its tokens, and how many tokens the prefix cache had."""
    before = engine.stats().prefix_cache_hits
    tokens = tokens_of(run(engine, one)[0])
    return tokens, engine.stats().prefix_cache_hits - before


@BOTH_MODES
def test_a_repeat_computes_the_last_block_only_and_generates_the_same(
    pocket_model: LoadedModel, async_scheduling: bool
) -> None:
    engine = new_engine(pocket_model, is_async=async_scheduling)
    for sampling in (GREEDY, SAMPLED):
        one = request(conversation(engine, "blue" if sampling is GREEDY else "red"), sampling=sampling)
        first, none = hits_of(engine, one)
        computed, media = engine.stats().prefill_tokens, engine.stats().encoded_media
        again, hits = hits_of(engine, one)
        assert again == first
        assert none == 0 or sampling is SAMPLED
        assert hits == (len(one.inputs) - 1) // BLOCK_SIZE * BLOCK_SIZE
        assert engine.stats().prefill_tokens - computed == len(one.inputs) - hits
        assert engine.stats().encoded_media == media
        alone = new_engine(pocket_model, cache=False)
        assert hits_of(alone, one) == (first, 0)


@BOTH_MODES
def test_all_requests_generate_with_a_full_cache_what_they_generate_without(
    pocket_model: LoadedModel, async_scheduling: bool
) -> None:
    """Text, images and video, in a batch, twice; then resumed after some tokens."""
    short = replace(pocket_model, context_tokens=256)
    alone = new_engine(short, cache=False)
    requests = mixed_requests(alone)[::2]
    expected = {one.id: tokens_of(run(alone, one)[0]) for one in requests}
    engine = new_engine(short, is_async=async_scheduling)
    for _ in range(2):
        batch = Batch(engine)
        for one in requests:
            batch.submit(one)
        batch.run()
        assert batch.tokens == expected
    hits = engine.stats().prefix_cache_hits
    batch = Batch(engine)
    for number, one in enumerate(requests):
        batch.submit(replace(one, journal=tuple(expected[one.id][: 1 + 9 * (number % 4)])))
    batch.run()
    assert batch.tokens == expected
    assert engine.stats().prefix_cache_hits > hits


@BOTH_MODES
def test_preempted_sequences_continue_from_the_cache(pocket_model: LoadedModel, async_scheduling: bool) -> None:
    short = replace(pocket_model, context_tokens=512)
    alone = new_engine(short, cache=False)
    requests = [
        replace(request(conversation(alone, colour), budget=60, answer=40), id=colour)
        for colour in ("red", "blue", "green", "black")
    ]
    expected = {one.id: tokens_of(run(alone, one)[0]) for one in requests}
    engine = new_engine(short, is_async=async_scheduling, kv_cache_gib=11 * BLOCK_SIZE * 2_048 / 2**30)
    batch = Batch(engine)
    for one in (*requests, *(replace(one, id=f"{one.id} again") for one in requests)):
        batch.submit(one)
    batch.run()
    assert engine.stats().num_preemptions > 0, "the cache must be small enough"
    assert engine.stats().prefix_cache_hits > 0
    for name, tokens in expected.items():
        assert batch.tokens[name] == batch.tokens[f"{name} again"] == tokens


def test_a_follow_up_with_another_image_encodes_and_computes_what_is_new(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model, encoder_cache_mib=0)
    alone = new_engine(pocket_model, cache=False, encoder_cache_mib=0)
    first, follow_up = conversation(engine), conversation(engine, "red", image("green", (84, 140)))
    hits_of(engine, request(first))
    assert engine.stats().encoded_media == 1
    tokens, hits = hits_of(engine, request(follow_up))
    assert engine.stats().encoded_media == 2
    assert hits >= (len(first) - 16) // BLOCK_SIZE * BLOCK_SIZE
    assert tokens == hits_of(alone, request(follow_up))[0]


def test_generated_tokens_are_found_by_a_conversation_that_continues_them(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model)
    one = request(conversation(engine), budget=-1, answer=16, max_total_tokens=200, sampling=GREEDY)
    output = [token.id for token in tokens_of(run(engine, one)[0])]
    ids = torch.cat([one.inputs.input_ids, torch.tensor([*output, 5, 6, 7])])
    types = torch.cat([one.inputs.mm_token_type_ids, torch.zeros(len(output) + 3, dtype=torch.int32)])
    longer = replace(one.inputs, input_ids=ids, mm_token_type_ids=types)
    tokens, hits = hits_of(engine, request(longer, sampling=GREEDY))
    assert hits == (len(ids) - 4) // BLOCK_SIZE * BLOCK_SIZE
    assert tokens == hits_of(new_engine(pocket_model, cache=False), request(longer, sampling=GREEDY))[0]


def test_equal_token_ids_with_other_pixels_share_nothing_from_the_image_on(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model)
    red, blue = conversation(engine, "red"), conversation(engine, "blue")
    assert torch.equal(red.input_ids, blue.input_ids)
    hits_of(engine, request(red))
    tokens, hits = hits_of(engine, request(blue))
    first_image_token = int((blue.mm_token_type_ids > 0).nonzero()[0])
    assert hits == first_image_token // BLOCK_SIZE * BLOCK_SIZE
    assert tokens == hits_of(new_engine(pocket_model, cache=False), request(blue))[0]


def test_an_image_of_another_shape_with_as_many_tokens_shares_nothing(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model)
    wide, tall = (engine.prepare(user(None, LONG), [image("red", size)]) for size in ((168, 112), (112, 168)))
    assert torch.equal(wide.input_ids, tall.input_ids)
    hits_of(engine, request(wide))
    assert hits_of(engine, request(tall))[1] == 0


def test_groups_share_nothing(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model)
    one = request(conversation(engine), group="a")
    hits_of(engine, one)
    assert hits_of(engine, replace(one, group="b"))[1] == 0
    assert hits_of(engine, one)[1] > 0


def test_media_without_hashes_are_not_cached(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model)
    one = request(replace(conversation(engine), mm_hashes=()))
    assert [hits_of(engine, one)[1] for _ in range(2)] == [0, 0]


def test_blocks_with_nan_are_not_found_by_others(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model)
    inputs = conversation(engine)
    assert inputs.pixel_values is not None
    broken = replace(inputs, pixel_values=torch.full_like(inputs.pixel_values, float("nan")))  # under the same hash
    events: list[object] = []
    engine.submit(request(broken), events.append)
    while not engine.is_idle:
        engine.step()
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "model_nan"
    assert hits_of(engine, request(inputs_of(engine, "text")))[0]
    before = engine.stats().prefix_cache_hits
    engine.submit(replace(request(broken), id="again"), events.append)
    engine.step()
    assert engine.stats().prefix_cache_hits == before


def test_the_repetition_penalty_counts_tokens_that_were_in_the_cache(pocket_model: LoadedModel) -> None:
    strong = replace(SAMPLED, repetition_penalty=3.0)
    engine = new_engine(pocket_model)
    one = request(conversation(engine), sampling=strong)
    assert hits_of(engine, one)[0] == hits_of(engine, one)[0] == hits_of(engine, one)[0]


def test_a_cache_full_of_old_prompts_refuses_and_delays_nothing(pocket_model: LoadedModel) -> None:
    engine = new_engine(pocket_model, kv_cache_gib=4_096 * 2_048 / 2**30)
    for number in range(12):
        parts = engine.prepare(user(f"{number} " + LONG * 3), [])
        run(engine, request(parts, budget=2, answer=2))
    stats = engine.stats()
    assert stats.kv_free_tokens == stats.kv_tokens
    longest = request(engine.prepare(user(LONG * 17), []), budget=2, answer=2)
    assert len(longest.inputs) > 1_800
    run(engine, longest)
    assert engine.stats().num_preemptions == 0
