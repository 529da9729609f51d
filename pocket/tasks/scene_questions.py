"""Questions about one scene, and follow-up questions."""

import random
from collections.abc import Callable

from PIL import Image

from pocket.tasks.aux_targets import aux_targets_of
from pocket.tasks.counting import count, describe, exists
from pocket.tasks.example import IMAGE, Example, QuestionAnswer, assistant, text, user
from pocket.tasks.grounding import attribute, locate, place, show
from pocket.world.lexicon import Language, vary_phrasing
from pocket.world.scenes import Scene

QuestionGenerator = Callable[[random.Random, Scene, Language], QuestionAnswer | None]
SCENE_QUESTIONS: tuple[QuestionGenerator, ...] = (count, exists, place, attribute, locate, show, describe)
SYSTEM = ("You are a helpful assistant.", "Answer questions about pictures.", "Be brief.", "你是一个有用的助手。")


def random_question(rng: random.Random, scene: Scene, language: Language, weights: dict[str, float]) -> QuestionAnswer:
    """Choose a question by the weights. If the scene has no clear answer to it, ask for a count."""
    chosen = rng.choices(SCENE_QUESTIONS, [weights[generator.__name__] for generator in SCENE_QUESTIONS])[0]
    found = chosen(rng, scene, language) or count(rng, scene, language)
    assert found
    return found


def scene_example(
    rng: random.Random, scene: Scene, image: Image.Image, language: Language, weights: dict[str, float]
) -> Example:
    """Return an example with one question about an image."""
    return single_turn_example(rng, random_question(rng, scene, language, weights), scene, image, language)


def single_turn_example(
    rng: random.Random, asked: QuestionAnswer, scene: Scene, image: Image.Image, language: Language
) -> Example:
    messages = [_first(rng, asked.question, language)]
    if rng.random() < 0.03:
        messages.insert(0, {"role": "system", "content": [text(rng.choice(SYSTEM))]})
    return Example(
        asked.skill,
        language,
        messages,
        asked.thought,
        asked.answer,
        [image],
        aux_targets=[aux_targets_of(scene.objects)],
    )


def follow_up_example(
    rng: random.Random, scene: Scene, image: Image.Image, language: Language, weights: dict[str, float]
) -> Example:
    """Return one or two answered questions and a further one. Only the last has a thought."""
    messages = []
    for number in range(rng.choice([1, 1, 2])):
        before = random_question(rng, scene, language, weights)
        asked = _first(rng, before.question, language) if number == 0 else user(text(before.question))
        messages += [asked, assistant(before.answer)]
    last = random_question(rng, scene, language, weights)
    messages.append(user(text(vary_phrasing(last.question, language, rng))))
    return Example(
        "follow-up", language, messages, last.thought, last.answer, [image], aux_targets=[aux_targets_of(scene.objects)]
    )


def _first(rng: random.Random, question: str, language: Language) -> dict[str, object]:
    said = text(vary_phrasing(question, language, rng))
    return user(IMAGE, said) if rng.random() < 0.75 else user(said, IMAGE)
