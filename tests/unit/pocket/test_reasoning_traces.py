"""Search thoughts list objects up to the match, and the answer follows from their last line."""

import random

import pytest

from pocket.tasks.grounding import ABSENT_SHARE, NONE, attribute, locate
from pocket.tasks.multi_image import among
from pocket.tasks.pages import Fonts, compare_digits, pages
from pocket.tasks.video import video_example
from pocket.world.lexicon import COLORS, ORDINALS, SHAPES
from testing.inputs.scenes import THREE_OBJECTS

RNG_SEEDS = range(120)


@pytest.mark.parametrize("generator", [locate, attribute])
def test_the_last_line_of_a_search_has_the_object(generator) -> None:  # type: ignore[no-untyped-def]
    absent = 0
    for seed in range(400):
        asked = generator(random.Random(seed), THREE_OBJECTS, "en")
        if asked is None:
            continue
        *trace, last = asked.thought.splitlines()
        assert not any(line.endswith(": yes") for line in trace)
        if asked.answer == NONE["en"]:
            absent += 1
            assert last == "no"
        else:
            assert last.endswith(": yes")
        if asked.answer.lower() in (*COLORS, *SHAPES):
            assert asked.answer.lower() in last
    assert 0 < absent < 400 * ABSENT_SHARE * 2


def test_the_answered_image_is_the_last_one_searched() -> None:
    named = 0
    for seed in RNG_SEEDS:
        example = among(random.Random(seed), [(112, 112)] * 3, "en")
        if example.answer.startswith("Picture"):
            named += 1
            heads = [line for line in example.thought.splitlines() if line.startswith("Picture")]
            assert heads[-1] == f"{example.answer}:"
            assert example.thought.endswith(": yes\n")
        elif example.answer == "None of them":
            assert example.thought.endswith("no\n")
    assert named > 20


def test_a_video_is_listed_up_to_the_requested_object() -> None:
    num_asked = 0
    for seed in RNG_SEEDS:
        example = video_example(random.Random(seed), (112, 112), 6, "en")
        question = example.messages[0]["content"][0].get("text") or example.messages[0]["content"][1]["text"]
        asked = [number for number, word in enumerate(ORDINALS, 1) if f" {word}" in question]
        if asked:
            num_asked += 1
            head, *trace = example.thought.splitlines()
            assert head == f"Looking for number {asked[0]}:"
            assert trace[-1].endswith(f": {asked[0]}")
            assert example.answer.lower() in trace[-1]
    assert num_asked > 40


def test_the_answered_page_is_the_first_with_the_number() -> None:
    named = 0
    for seed in RNG_SEEDS:
        example = pages(random.Random(seed), [(140, 196)] * 4, "en", Fonts())
        if example.answer.startswith("Page"):
            named += 1
            head, *trace = example.thought.splitlines()
            number = head.removeprefix("Looking for ").rstrip(":")
            *others, found = [line.split(": ") for line in trace]
            alike = " ".join(2 * digit for digit in number)
            assert found == [example.answer, number, alike, "yes"]
            for _, read, pairs, said in others:
                *same, different = pairs.split()
                assert said == "no"
                assert all(pair[0] == pair[1] for pair in same)
                assert different[0] != different[1]
                assert read.startswith("".join(pair[0] for pair in [*same, different]).rstrip("-"))
    assert named > 20


def test_numbers_of_different_length_differ_at_the_missing_digit() -> None:
    assert compare_digits("40", "407", "en") == "40: 44 00 -7: no"
    assert compare_digits("407", "40", "zh") == "407：44 00 7-：没有"
