"""Who runs, who waits and who gives way, without torch: tokens are made up."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.block_pool import BLOCK_SIZE, BlockPool, blocks_for
from engine.core.scheduler import Scheduler, SchedulerOutput
from engine.core.sequence import Sequence
from engine.core.thinking import StagedGeneration
from engine.core.tokenizer_info import TokenizerInfo
from engine.events import Token
from families import FAMILIES
from pocket.model import make_tokenizer


@cache
def tokenizer_info() -> TokenizerInfo:
    return TokenizerInfo(make_tokenizer(), FAMILIES["pocket"], [])


def sequence(name: str, prompt: int) -> Sequence:
    control = StagedGeneration(tokenizer_info(), budget=-1, room=10_000, max_answer_tokens=10_000)
    request: Any = SimpleNamespace(id=name, journal=(), keep_box_tokens=False)
    return Sequence(request, lambda _: None, tokenizer_info(), control, prompt)


def scheduler(*, blocks: int = 100, slots: int = 4, chunk: int = 1_000) -> Scheduler:
    return Scheduler(BlockPool(blocks * BLOCK_SIZE), slots=slots, max_prefill_tokens=chunk)


def answer(plan: SchedulerOutput, tokens: int = 1) -> None:
    """What the engine does with a plan: each draw gives its sequence a token, or a few with forced ones."""
    for span in plan.spans:
        if span.draw is not None and not span.draw.is_void:
            span.sequence.draws.popleft()
            span.sequence.tokens += [Token(300, forced=False)] * tokens


def names(plan: SchedulerOutput) -> tuple[list[str], list[str]]:
    return [span.sequence.id for span in plan.prefills], [span.sequence.id for span in plan.decode]


def test_a_prompt_is_read_first_and_then_row_by_row() -> None:
    line = scheduler()
    line.add(sequence("a", 30))
    first = line.schedule(async_scheduling=False)
    assert names(first) == (["a"], [])
    assert (first.prefills[0].start, first.prefills[0].end) == (0, 30)
    answer(first)
    second = line.schedule(async_scheduling=False)
    assert names(second) == ([], ["a"])
    assert (second.decode[0].start, second.decode[0].end) == (30, 31)


def test_a_long_prompt_lets_the_others_have_their_tokens() -> None:
    line = scheduler(chunk=64)
    line.add(sequence("short", 20))
    answer(line.schedule(async_scheduling=False))
    line.add(sequence("long", 200))
    for start in (0, 64, 128):
        plan = line.schedule(async_scheduling=False)
        assert names(plan) == (["long"], ["short"])
        assert plan.prefills[0].start == start
        assert plan.prefills[0].draw is None
        answer(plan)
    last = line.schedule(async_scheduling=False)
    assert last.prefills[0].draw is not None
    assert last.prefills[0].end == 200


def test_forced_tokens_are_rows_of_the_same_pass() -> None:
    line = scheduler()
    line.add(sequence("a", 10))
    answer(line.schedule(async_scheduling=False), tokens=4)
    plan = line.schedule(async_scheduling=False)
    assert [(span.start, span.end) for span in plan.decode] == [(10, 14)]


def test_ahead_reads_the_token_that_is_being_drawn_once() -> None:
    line = scheduler()
    line.add(sequence("a", 10))
    line.schedule(async_scheduling=True)
    guess = line.schedule(async_scheduling=True)
    assert guess.decode[0].is_ahead
    assert (guess.decode[0].start, guess.decode[0].end) == (10, 11)
    assert line.schedule(async_scheduling=True).spans == [], "two draws of one sequence are enough"


def test_the_head_of_the_line_is_never_passed() -> None:
    line = scheduler(blocks=4)
    line.add(sequence("first", 100))
    line.schedule(async_scheduling=False)
    line.add(sequence("large", 150))
    line.add(sequence("small", 5))
    line.schedule(async_scheduling=False)
    assert [one.id for one in line.running] == ["first"]
    assert [one.id for one in line.waiting] == ["large", "small"]


def test_the_youngest_gives_way_and_keeps_its_tokens() -> None:
    line = scheduler(blocks=5)
    old, young = sequence("old", 60), sequence("young", 60)
    for one in (old, young):
        line.add(one)
        answer(line.schedule(async_scheduling=False))
    while line.num_preemptions == 0:
        answer(line.schedule(async_scheduling=False))
    assert line.running == [old]
    assert line.waiting[0] is young
    assert young.computed == 0
    assert young.slot is None
    assert len(young.tokens) > 50
    line.remove(old)
    again = line.schedule(async_scheduling=False)
    assert again.prefills[0].end == young.length, "it is read anew, tokens and all"


def test_removing_one_gives_back_all_that_it_held() -> None:
    line = scheduler()
    one = sequence("a", 100)
    line.add(one)
    plan = line.schedule(async_scheduling=False)
    line.remove(one)
    assert line.is_idle
    assert line.pool.free == line.pool.blocks
    assert plan.prefills[0].draw is not None
    assert plan.prefills[0].draw.is_void
    line.remove(one)  # once more does nothing


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (64, 1), (65, 2)])
def test_tokens_stand_in_whole_blocks(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens) == blocks


@given(
    st.lists(st.tuples(st.sampled_from("arp"), st.integers(1, 180)), max_size=60),
    st.integers(3, 12),
)
def test_blocks_have_one_owner_whatever_happens(actions: list[tuple[str, int]], blocks: int) -> None:
    line = scheduler(blocks=blocks, slots=3, chunk=70)
    for number, (action, size) in enumerate(actions):
        if action == "a" and blocks_for(size + 1) <= blocks:
            line.add(sequence(str(number), size))
        elif action == "r" and line.running:
            line.remove(line.running[size % len(line.running)])
        elif action == "p":
            plan = line.schedule(async_scheduling=False)
            for span in plan.spans:
                assert len(span.sequence.blocks) * BLOCK_SIZE >= span.end
            answer(plan, tokens=1 + size % 3)
            for one in [*line.running]:
                if blocks_for(one.length + 2) > blocks:
                    line.remove(one)  # the engine refuses such at submit
        held = [block for one in line.running for block in one.blocks]
        assert len(held) == len(set(held))
        assert len(held) + line.pool.free == line.pool.blocks
        assert 0 not in held, "the scratch block is nobody's"
        assert len({one.slot for one in line.running}) == len(line.running)
