"""Positions, orders, boxes and answers match the drawn scene."""

import random

import numpy as np
import pytest

from pocket.tasks.aux_targets import SIDE
from pocket.tasks.counting import count, describe, exists
from pocket.tasks.example import QuestionAnswer
from pocket.tasks.grounding import locate, place
from pocket.tasks.reasoning_trace import format_box
from pocket.tasks.scene_questions import SCENE_QUESTIONS
from pocket.tasks.synthetic_dataset import FULL, SMALL, spec_for
from pocket.world.lexicon import COLORS, SHAPES, ObjectKind
from pocket.world.render import PLAIN
from pocket.world.scenes import Scene, SceneSpec, new_scene
from testing.inputs.scenes import SIZE, THREE_OBJECTS, plain_scene


def test_scenes_depend_on_the_seed_only() -> None:
    first, again, other = (
        np.asarray(new_scene(random.Random(seed), SIZE, SceneSpec(3, 6)).image()) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_objects_are_in_reading_order() -> None:
    assert [obj.kind for obj in THREE_OBJECTS.objects] == [
        ObjectKind("blue", "star"), ObjectKind("red", "circle"), ObjectKind("red", "square"),
    ]  # fmt: skip


def test_the_answer_of_a_count_is_the_last_number_of_the_thought() -> None:
    seen: dict[str, QuestionAnswer] = {}
    rng = random.Random(4)
    while "Counting red shapes:" not in seen:
        asked = count(rng, THREE_OBJECTS, "en")
        seen[asked.thought.splitlines()[0]] = asked
    asked = seen["Counting red shapes:"]
    assert asked.thought.splitlines()[1:] == ["14,18 blue star", "83,17 red circle: 1", "17,80 red square: 2"]
    assert asked.answer == "2"


def test_a_search_ends_at_the_first_match() -> None:
    rng = random.Random(1)
    for _ in range(200):
        asked = exists(rng, THREE_OBJECTS, "en")
        lines = asked.thought.splitlines()
        assert sum(line.endswith(": yes") for line in lines) == (asked.answer == "Yes")
        assert (lines[-1] == "no") == (asked.answer == "No")
        assert asked.answer == "No" or lines[-1].endswith(": yes")


def test_a_box_encloses_the_painted_pixels() -> None:
    """A single object's box matches the pixels that differ from the background, within a pixel."""
    rng = random.Random(3)
    for number in range(40):
        scene = new_scene(rng, SIZE, SceneSpec(1, 1, varied=False))
        (obj,) = scene.objects
        pixels = np.asarray(scene.image()).astype(int)
        ys, xs = np.nonzero(np.abs(pixels - pixels[0, 0]).sum(axis=2) > 100)
        painted = (xs.min() / 336, ys.min() / 224, (xs.max() + 1) / 336, (ys.max() + 1) / 224)
        expected = [int(part) / 1000 for part in format_box(obj, scene).strip("[]").split(",")]
        assert np.abs(np.array(painted) - expected).max() < 0.012, number


def test_positions_are_asked_for_only_if_unambiguous() -> None:
    between = plain_scene(("red", "circle", 112, 112))
    assert between.at("left") is None
    assert between.at("middle") is None
    assert between.at("right") == []
    assert [obj.kind for obj in THREE_OBJECTS.at("top left") or []] == [ObjectKind("blue", "star")]
    rng = random.Random(2)
    answers = {asked.answer for _ in range(100) if (asked := place(rng, THREE_OBJECTS, "en"))}
    assert {"Red", "Blue", "Star", "A red circle"} <= answers


def test_only_unique_objects_are_located() -> None:
    rng = random.Random(2)
    for _ in range(200):
        asked = locate(rng, THREE_OBJECTS, "en")
        assert asked is None or "red shape" not in asked.thought


def test_an_empty_image_has_answers() -> None:
    empty = Scene(SIZE, (), PLAIN)
    assert count(random.Random(0), empty, "en").answer == "0"
    assert describe(random.Random(0), empty, "zh").answer == "什么也没有"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_questions_have_answers_for_scenes_of_all_sizes(language: str) -> None:
    """Names are known ones, and objects lie inside the image."""
    rng = random.Random(9)
    for grid in (*SMALL, *FULL):
        scene = new_scene(rng, (grid[0] * SIDE, grid[1] * SIDE), spec_for(rng, grid))
        for obj in scene.objects:
            assert obj.color in COLORS
            assert obj.shape in SHAPES
            left, top, right, bottom = obj.box
            assert left > -6
            assert top > -6
            assert right < scene.size[0] + 6
            assert bottom < scene.size[1] + 6
        for generator in SCENE_QUESTIONS:
            asked = generator(rng, scene, language)  # type: ignore[arg-type]
            assert asked is None or (asked.question and asked.thought and asked.answer)
