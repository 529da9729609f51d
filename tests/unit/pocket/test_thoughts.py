"""Thoughts that look for something walk up to it, and the answer is what their last line tells."""

import random

import pytest

from pocket.tasks.grounding import ABSENT, NONE, attribute, locate
from pocket.tasks.pages import Fonts, compared, pages
from pocket.tasks.pictures import among
from pocket.tasks.video import film
from pocket.world.lexicon import COLORS, ORDINALS, SHAPES
from tests.unit.pocket.test_scenes import THREE

RNG_SEEDS = range(120)


@pytest.mark.parametrize("asking", [locate, attribute])
def test_what_is_located_or_named_stands_in_the_last_line(asking) -> None:  # type: ignore[no-untyped-def]
    absent = 0
    for seed in range(400):
        asked = asking(random.Random(seed), THREE, "en")
        if asked is None:
            continue
        *walked, last = asked.thought.splitlines()
        assert not any(line.endswith(": yes") for line in walked)
        if asked.answer == NONE["en"]:
            absent += 1
            assert last == "no"
        else:
            assert last.endswith(": yes")
        if asked.answer.lower() in (*COLORS, *SHAPES):
            assert asked.answer.lower() in last
    assert 0 < absent < 400 * ABSENT * 2


def test_the_picture_that_is_named_is_the_last_one_walked_through() -> None:
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


def test_a_film_is_watched_up_to_what_is_asked_for() -> None:
    counted = 0
    for seed in RNG_SEEDS:
        example = film(random.Random(seed), (112, 112), 6, "en")
        question = example.messages[0]["content"][0].get("text") or example.messages[0]["content"][1]["text"]
        asked = [number for number, word in enumerate(ORDINALS, 1) if f" {word}" in question]
        if asked:
            counted += 1
            head, *walked = example.thought.splitlines()
            assert head == f"Looking for number {asked[0]}:"
            assert walked[-1].endswith(f": {asked[0]}")
            assert example.answer.lower() in walked[-1]
    assert counted > 40


def test_the_page_that_is_named_is_the_first_with_the_number() -> None:
    named = 0
    for seed in RNG_SEEDS:
        example = pages(random.Random(seed), [(140, 196)] * 4, "en", Fonts())
        if example.answer.startswith("Page"):
            named += 1
            head, *walked = example.thought.splitlines()
            number = head.removeprefix("Looking for ").rstrip(":")
            *others, found = [line.split(": ") for line in walked]
            alike = " ".join(2 * digit for digit in number)
            assert found == [example.answer, number, alike, "yes"]
            for _, read, pairs, said in others:
                *same, different = pairs.split()
                assert said == "no"
                assert all(pair[0] == pair[1] for pair in same)
                assert different[0] != different[1]
                assert read.startswith("".join(pair[0] for pair in [*same, different]).rstrip("-"))
    assert named > 20


def test_numbers_of_two_lengths_differ_where_one_ends() -> None:
    assert compared("40", "407", "en") == "40: 44 00 -7: no"
    assert compared("407", "40", "zh") == "407：44 00 7-：没有"
