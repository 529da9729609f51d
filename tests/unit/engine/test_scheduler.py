"""Scheduling and preemption with invented tokens."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.block_pool import BLOCK_SIZE, BlockPool, blocks_needed
from engine.core.scheduler import Scheduler
from engine.core.scheduler_output import SchedulerOutput
from engine.core.sequence import Sequence
from engine.core.thinking import ThinkingController
from engine.core.tokenizer_info import TokenizerInfo
from engine.events import Token
from families import FAMILIES
from pocket.model import make_tokenizer


@cache
def tokenizer_info() -> TokenizerInfo:
    return TokenizerInfo(make_tokenizer(), FAMILIES["pocket"], [])


def sequence(name: str, prompt: int, group: str = "") -> Sequence:
    controller = ThinkingController(tokenizer_info(), budget=-1, max_thinking_tokens=10_000, max_answer_tokens=10_000)
    request: Any = SimpleNamespace(id=name, journal=(), keep_box_tokens=False, stop=(), group=group)
    return Sequence(request, lambda _: None, tokenizer_info(), controller, prompt)


def new_scheduler(*, blocks: int = 100, slots: int = 4, chunk: int = 1_000, reserve: int = 0) -> Scheduler:
    pool = BlockPool(blocks * BLOCK_SIZE)
    return Scheduler(pool, slots=slots, reserve_slots=reserve, max_prefill_tokens=chunk)


def sample_all(output: SchedulerOutput, tokens: int = 1) -> None:
    """Like the engine, give each sequence its pending token, or several with forced ones."""
    for one in output.all:
        if one.pending is not None and not one.pending.is_void:
            one.sequence.pending.popleft()
            one.sequence.tokens += [Token(300, forced=False)] * tokens


def names(output: SchedulerOutput) -> tuple[list[str], list[str]]:
    return [one.sequence.id for one in output.prefills], [one.sequence.id for one in output.decodes]


def test_a_prompt_is_one_prefill_and_then_one_decode_row_per_step() -> None:
    scheduler = new_scheduler()
    scheduler.add(sequence("a", 30))
    first = scheduler.schedule(async_scheduling=False)
    assert names(first) == (["a"], [])
    assert (first.prefills[0].start, first.prefills[0].end) == (0, 30)
    sample_all(first)
    second = scheduler.schedule(async_scheduling=False)
    assert names(second) == ([], ["a"])
    assert (second.decodes[0].start, second.decodes[0].end) == (30, 31)


def test_a_long_prompt_does_not_delay_the_tokens_of_others() -> None:
    scheduler = new_scheduler(chunk=64)
    scheduler.add(sequence("short", 20))
    sample_all(scheduler.schedule(async_scheduling=False))
    scheduler.add(sequence("long", 200))
    for start in (0, 64, 128):
        output = scheduler.schedule(async_scheduling=False)
        assert names(output) == (["long"], ["short"])
        assert output.prefills[0].start == start
        assert output.prefills[0].pending is None
        sample_all(output)
    last = scheduler.schedule(async_scheduling=False)
    assert last.prefills[0].pending is not None
    assert last.prefills[0].end == 200


def test_forced_tokens_are_rows_of_the_same_decode_pass() -> None:
    scheduler = new_scheduler()
    scheduler.add(sequence("a", 10))
    sample_all(scheduler.schedule(async_scheduling=False), tokens=4)
    output = scheduler.schedule(async_scheduling=False)
    assert [(span.start, span.end) for span in output.decodes] == [(10, 14)]


def test_async_scheduling_looks_one_token_ahead() -> None:
    scheduler = new_scheduler()
    scheduler.add(sequence("a", 10))
    scheduler.schedule(async_scheduling=True)
    lookahead = scheduler.schedule(async_scheduling=True)
    assert lookahead.decodes[0].is_lookahead
    assert (lookahead.decodes[0].start, lookahead.decodes[0].end) == (10, 11)
    assert scheduler.schedule(async_scheduling=True).all == [], "at most two pending tokens per sequence"


def test_no_sequence_overtakes_the_head_of_the_queue() -> None:
    scheduler = new_scheduler(blocks=4)
    scheduler.add(sequence("first", 100))
    scheduler.schedule(async_scheduling=False)
    scheduler.add(sequence("large", 150))
    scheduler.add(sequence("small", 5))
    scheduler.schedule(async_scheduling=False)
    assert [one.id for one in scheduler.running] == ["first"]
    assert [one.id for one in scheduler.waiting] == ["large", "small"]


def test_preemption_takes_the_youngest_sequence_and_keeps_its_tokens() -> None:
    scheduler = new_scheduler(blocks=5)
    old, young = sequence("old", 60), sequence("young", 60)
    for one in (old, young):
        scheduler.add(one)
        sample_all(scheduler.schedule(async_scheduling=False))
    while scheduler.num_preemptions == 0:
        sample_all(scheduler.schedule(async_scheduling=False))
    assert scheduler.running == [old]
    assert scheduler.waiting[0] is young
    assert young.num_computed_tokens == 0
    assert young.slot is None
    assert len(young.tokens) > 50
    scheduler.remove(old)
    output = scheduler.schedule(async_scheduling=False)
    assert output.prefills[0].end == young.num_tokens, "prompt and output are computed again"


def run_step(scheduler: Scheduler) -> list[str]:
    """Run a step and return the names of the running sequences, in alphabetical order."""
    sample_all(scheduler.schedule(async_scheduling=False))
    return sorted(one.id for one in scheduler.running)


def test_a_group_without_a_slot_takes_one_from_the_largest_group() -> None:
    scheduler = new_scheduler(slots=3)
    for number in range(5):
        scheduler.add(sequence(f"a{number}", 10, "a"))
    assert run_step(scheduler) == ["a0", "a1", "a2"]
    scheduler.add(sequence("b0", 10, "b"))
    assert run_step(scheduler) == ["a0", "a1", "b0"]
    scheduler.add(sequence("b1", 10, "b"))
    assert run_step(scheduler) == ["a0", "a1", "b0"], "two to one is as equal as three slots can be"
    assert scheduler.num_preemptions == 1
    b0 = scheduler.find("b0")
    assert b0 is not None
    scheduler.remove(b0)
    assert run_step(scheduler) == ["a0", "a1", "b1"]


def test_a_preempted_sequence_of_a_large_group_continues_before_those_that_never_ran() -> None:
    scheduler = new_scheduler(slots=2)
    for name in ("a0", "a1", "a2"):
        scheduler.add(sequence(name, 10, "a"))
    run_step(scheduler)
    scheduler.add(sequence("b0", 10, "b"))
    assert run_step(scheduler) == ["a0", "b0"]
    b0 = scheduler.find("b0")
    assert b0 is not None
    scheduler.remove(b0)
    assert run_step(scheduler) == ["a0", "a1"]


def decoded(scheduler: Scheduler, *, row_s: float = 0.0) -> list[str]:
    """Run a step, which takes 1 ms and ``row_s`` per row, and return the names of the sequences that it computed."""
    output = scheduler.schedule(async_scheduling=False)
    sample_all(output)
    if output.turn is not None:
        scheduler.turns.record(output.turn, 0.001 + row_s * len(output.all))
    return sorted(one.sequence.id for one in output.all)


def test_a_sequence_that_pauses_for_another_group_keeps_what_is_computed() -> None:
    scheduler = new_scheduler(slots=2, reserve=2)
    for name in ("a0", "a1"):
        scheduler.add(sequence(name, 10, "a"))
    run_step(scheduler)
    scheduler.add(sequence("b0", 10, "b"))
    assert {name for _ in range(6) for name in decoded(scheduler)} == {"a0", "b0"}, "two slots"
    assert scheduler.num_paused == 1
    b0 = scheduler.find("b0")
    assert b0 is not None
    scheduler.remove(b0)
    output = scheduler.schedule(async_scheduling=False)
    assert names(output) == ([], ["a0", "a1"]), "a1 continues without computing its prompt again"
    assert scheduler.num_preemptions == 0


def test_a_full_cache_preempts_a_sequence_that_pauses_first() -> None:
    scheduler = new_scheduler(blocks=6, slots=2, reserve=2)
    for name in ("a0", "a1"):
        scheduler.add(sequence(name, 60, "a"))
    run_step(scheduler)
    scheduler.add(sequence("b0", 60, "b"))
    while not scheduler.num_preemptions:
        decoded(scheduler)
    assert [one.id for one in scheduler.waiting] == ["a1"]


def test_the_heaviest_group_is_left_out_of_steps_that_it_would_slow_down_too_much() -> None:
    scheduler = new_scheduler(slots=8)
    for number in range(7):
        scheduler.add(sequence(f"a{number}", 10, "a"))
    scheduler.add(sequence("b0", 10, "b"))
    decoded(scheduler, row_s=0.001)
    decoded(scheduler, row_s=0.001)  # the prompts
    steps = [decoded(scheduler, row_s=0.001) for _ in range(80)]
    assert all("b0" in step for step in steps), "the small group is never left out"
    mean_s = sum(0.001 + 0.001 * len(step) for step in steps) / len(steps)
    assert 0.0025 < mean_s < 0.0033, "about one and a half times the time of the small group's own step"
    assert max(len(step) for step in steps) == 8, "the large group runs as well"


def test_the_heaviest_group_takes_part_in_all_steps_that_it_hardly_slows_down() -> None:
    scheduler = new_scheduler(slots=8)
    for number in range(7):
        scheduler.add(sequence(f"a{number}", 10, "a"))
    scheduler.add(sequence("b0", 10, "b"))
    decoded(scheduler)
    decoded(scheduler)
    steps = [len(decoded(scheduler)) for _ in range(100)]
    assert steps.count(8) >= 98


def test_a_group_that_waits_alone_for_its_turn_is_not_left_out() -> None:
    scheduler = new_scheduler(slots=4)
    a, b = sequence("a", 10, "a"), sequence("b", 10, "b")
    for one in (a, b):
        scheduler.add(one)
    decoded(scheduler)
    scheduler.remove(b)
    assert [decoded(scheduler) for _ in range(3)] == [["a"]] * 3


def test_a_small_group_takes_cache_blocks_from_a_large_one() -> None:
    scheduler = new_scheduler(blocks=8, slots=8)
    for number in range(4):
        scheduler.add(sequence(f"a{number}", 60, "a"))
    run_step(scheduler)
    scheduler.add(sequence("b0", 200, "b"))
    assert "b0" in run_step(scheduler)


def test_removing_a_sequence_frees_all_that_it_occupied() -> None:
    scheduler = new_scheduler()
    one = sequence("a", 100)
    scheduler.add(one)
    output = scheduler.schedule(async_scheduling=False)
    scheduler.remove(one)
    assert scheduler.is_idle
    assert scheduler.pool.num_free == scheduler.pool.num_blocks
    assert output.prefills[0].pending is not None
    assert output.prefills[0].pending.is_void
    scheduler.remove(one)  # a second time does nothing


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (64, 1), (65, 2)])
def test_tokens_occupy_whole_blocks(tokens: int, blocks: int) -> None:
    assert blocks_needed(tokens) == blocks


@given(
    st.lists(st.tuples(st.sampled_from("arp"), st.integers(1, 180), st.sampled_from("xxy")), max_size=60),
    st.integers(3, 12),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_block_has_one_owner_after_any_actions(
    actions: list[tuple[str, int, str]], blocks: int, reserve: int, async_scheduling: bool
) -> None:
    scheduler = new_scheduler(blocks=blocks, slots=3, chunk=70, reserve=reserve)
    for number, (action, size, group) in enumerate(actions):
        if action == "a" and blocks_needed(size + 1) <= blocks:
            scheduler.add(sequence(str(number), size, group))
        elif action == "r" and scheduler.running:
            scheduler.remove(scheduler.running[size % len(scheduler.running)])
        elif action == "p":
            output = scheduler.schedule(async_scheduling=async_scheduling)
            assert len(output.all) <= scheduler.slots
            assert output.all or scheduler.is_idle or async_scheduling, "a step without work would never end"
            for item in output.all:
                assert item.sequence.slot is not None
                assert len(item.sequence.blocks) * BLOCK_SIZE >= item.end
            sample_all(output, tokens=1 if async_scheduling else 1 + size % 3)
            if output.turn is not None:
                scheduler.turns.record(output.turn, 0.001 * len(output.all))
            for one in [*scheduler.running]:
                if blocks_needed(one.num_tokens + 2) > blocks:
                    scheduler.remove(one)  # the engine rejects such a request at submit
        owned = [block for one in scheduler.running for block in one.blocks]
        assert len(owned) == len(set(owned))
        assert len(owned) + scheduler.pool.num_free == scheduler.pool.num_blocks
        assert 0 not in owned, "the null block belongs to no sequence"
        assert len({one.slot for one in scheduler.running}) == len(scheduler.running)


def test_a_small_rest_of_the_step_is_not_filled_with_a_part_of_a_prompt() -> None:
    scheduler = new_scheduler(chunk=100)
    for name in ("a", "b", "c"):
        scheduler.add(sequence(name, 90))
    output = scheduler.schedule(async_scheduling=False)
    assert [(one.sequence.id, one.start, one.end) for one in output.prefills] == [("a", 0, 90)]
    sample_all(output)
    output = scheduler.schedule(async_scheduling=False)
    assert [(one.sequence.id, one.start, one.end) for one in output.prefills] == [("b", 0, 90)]


def test_a_large_rest_of_the_step_is_filled() -> None:
    scheduler = new_scheduler(chunk=100)
    scheduler.add(sequence("a", 60))
    scheduler.add(sequence("b", 90))
    output = scheduler.schedule(async_scheduling=False)
    assert [(one.sequence.id, one.start, one.end) for one in output.prefills] == [("a", 0, 60), ("b", 0, 40)]


def test_media_come_before_the_prompt_and_share_its_budget() -> None:
    scheduler = new_scheduler(chunk=100)
    large, small = sequence("large", 10), sequence("small", 10)
    large.encoder_cost = large.encoder_cost_left = 250.0
    small.encoder_cost = small.encoder_cost_left = 20.0
    scheduler.add(large)
    scheduler.add(small)
    for left in (250.0, 150.0):
        output = scheduler.schedule(async_scheduling=False)
        assert (output.encodes, output.encoder_budget, output.prefills) == ([large], 100.0, [])
        large.encoder_cost_left = left - 100.0
    output = scheduler.schedule(async_scheduling=False)
    assert (output.encodes, output.encoder_budget) == ([large, small], 70.0)
    assert [one.sequence.id for one in output.prefills] == ["large", "small"]
