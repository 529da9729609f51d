"""What is drawn is what is told: places, orders, boxes and answers follow from the scene."""

import random

import numpy as np
import pytest

from pocket.tasks.aux_targets import SIDE
from pocket.tasks.counting import count, describe, exists
from pocket.tasks.example import Ask
from pocket.tasks.grounding import locate, place
from pocket.tasks.reasoning_trace import box_of
from pocket.tasks.scene_questions import ASKING
from pocket.tasks.synthetic_dataset import FULL, SMALL, crowd_for
from pocket.world.lexicon import COLORS, SHAPES, Kind
from pocket.world.objects import new_thing
from pocket.world.render import PLAIN
from pocket.world.scenes import Crowd, Scene, in_reading_order, new_scene

SIZE = (336, 224)


def scene_of(*things: tuple[str, str, float, float]) -> Scene:
    """A plain scene of (colour, shape, x, y)."""
    made = [new_thing(random.Random(0), Kind(color, shape), x, y, 24, wild=False) for color, shape, x, y in things]
    return Scene(SIZE, tuple(in_reading_order(made, SIZE)), PLAIN)


THREE = scene_of(("red", "circle", 280, 40), ("blue", "star", 50, 44), ("red", "square", 60, 180))


def test_a_seed_makes_the_same_scene_and_another_one_another() -> None:
    one, again, other = (np.asarray(new_scene(random.Random(seed), SIZE, Crowd(3, 6)).picture()) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_rows_are_told_from_the_top_and_each_from_the_left() -> None:
    assert [thing.kind for thing in THREE.things] == [
        Kind("blue", "star"), Kind("red", "circle"), Kind("red", "square"),
    ]  # fmt: skip


def test_a_thought_counts_and_the_answer_is_its_last_number() -> None:
    seen: dict[str, Ask] = {}
    rng = random.Random(4)
    while "Counting red shapes:" not in seen:
        asked = count(rng, THREE, "en")
        seen[asked.thought.splitlines()[0]] = asked
    asked = seen["Counting red shapes:"]
    assert asked.thought.splitlines()[1:] == ["14,18 blue star", "83,17 red circle: 1", "17,80 red square: 2"]
    assert asked.answer == "2"


def test_looking_for_something_ends_where_it_is_found() -> None:
    rng = random.Random(1)
    for _ in range(200):
        asked = exists(rng, THREE, "en")
        lines = asked.thought.splitlines()
        assert sum(line.endswith(": yes") for line in lines) == (asked.answer == "Yes")
        assert (lines[-1] == "no") == (asked.answer == "No")
        assert asked.answer == "No" or lines[-1].endswith(": yes")


def test_a_box_is_round_what_was_painted() -> None:
    """Of each thing drawn alone: the pixels that differ from the ground, within a pixel."""
    rng = random.Random(3)
    for number in range(40):
        scene = new_scene(rng, SIZE, Crowd(1, 1, wild=False))
        (thing,) = scene.things
        pixels = np.asarray(scene.picture()).astype(int)
        ys, xs = np.nonzero(np.abs(pixels - pixels[0, 0]).sum(axis=2) > 100)
        painted = (xs.min() / 336, ys.min() / 224, (xs.max() + 1) / 336, (ys.max() + 1) / 224)
        told = [int(part) / 1000 for part in box_of(thing, scene).strip("[]").split(",")]
        assert np.abs(np.array(painted) - told).max() < 0.012, number


def test_a_place_is_asked_for_only_where_it_is_clear() -> None:
    between = scene_of(("red", "circle", 112, 112))
    assert between.at("left") is None
    assert between.at("middle") is None
    assert between.at("right") == []
    assert [thing.kind for thing in THREE.at("top left") or []] == [Kind("blue", "star")]
    rng = random.Random(2)
    answers = {asked.answer for _ in range(100) if (asked := place(rng, THREE, "en"))}
    assert {"Red", "Blue", "Star", "A red circle"} <= answers


def test_only_what_is_alone_is_located() -> None:
    rng = random.Random(2)
    for _ in range(200):
        asked = locate(rng, THREE, "en")
        assert asked is None or "red shape" not in asked.thought


def test_an_empty_picture_has_answers_too() -> None:
    empty = Scene(SIZE, (), PLAIN)
    assert count(random.Random(0), empty, "en").answer == "0"
    assert describe(random.Random(0), empty, "zh").answer == "什么也没有"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_question_has_an_answer_that_fits_its_scene(language: str) -> None:
    """Of many scenes of all sizes: names are known ones, and things lie inside the picture."""
    rng = random.Random(9)
    for grid in (*SMALL, *FULL):
        scene = new_scene(rng, (grid[0] * SIDE, grid[1] * SIDE), crowd_for(rng, grid))
        for thing in scene.things:
            assert thing.color in COLORS
            assert thing.shape in SHAPES
            left, top, right, bottom = thing.box
            assert left > -6
            assert top > -6
            assert right < scene.size[0] + 6
            assert bottom < scene.size[1] + 6
        for asking in ASKING:
            asked = asking(rng, scene, language)  # type: ignore[arg-type]
            assert asked is None or (asked.question and asked.thought and asked.answer)
