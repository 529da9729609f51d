"""All that can be asked about one scene, and second questions about it."""

import random
from collections.abc import Callable

from PIL import Image

from pocket.tasks.aux_targets import spots_of
from pocket.tasks.counting import count, describe, exists
from pocket.tasks.example import IMAGE, Ask, Example, assistant, text, user
from pocket.tasks.grounding import attribute, locate, place, show
from pocket.world.lexicon import Language, varied
from pocket.world.scenes import Scene

Asking = Callable[[random.Random, Scene, Language], Ask | None]
ASKING: tuple[Asking, ...] = (count, exists, place, attribute, locate, show, describe)
SYSTEM = ("You are a helpful assistant.", "Answer questions about pictures.", "Be brief.", "你是一个有用的助手。")


def ask(rng: random.Random, scene: Scene, language: Language, weights: dict[str, float]) -> Ask:
    """By the skills' weights; a scene without a clear answer to one question is asked another."""
    chosen = rng.choices(ASKING, [weights[asking.__name__] for asking in ASKING])[0]
    found = chosen(rng, scene, language) or count(rng, scene, language)
    assert found
    return found


def example(
    rng: random.Random, scene: Scene, picture: Image.Image, language: Language, weights: dict[str, float]
) -> Example:
    """One question about a picture."""
    return one_question(rng, ask(rng, scene, language, weights), scene, picture, language)


def one_question(rng: random.Random, asked: Ask, scene: Scene, picture: Image.Image, language: Language) -> Example:
    messages = [_first(rng, asked.question, language)]
    if rng.random() < 0.03:
        messages.insert(0, {"role": "system", "content": [text(rng.choice(SYSTEM))]})
    return Example(
        asked.skill, language, messages, asked.thought, asked.answer, [picture], spots=[spots_of(scene.things)]
    )


def follow_up(
    rng: random.Random, scene: Scene, picture: Image.Image, language: Language, weights: dict[str, float]
) -> Example:
    """One or two questions with their answers, then another one; only the last has a thought."""
    messages = []
    for number in range(rng.choice([1, 1, 2])):
        before = ask(rng, scene, language, weights)
        asked = _first(rng, before.question, language) if number == 0 else user(text(before.question))
        messages += [asked, assistant(before.answer)]
    last = ask(rng, scene, language, weights)
    messages.append(user(text(varied(last.question, language, rng))))
    return Example(
        "follow-up", language, messages, last.thought, last.answer, [picture], spots=[spots_of(scene.things)]
    )


def _first(rng: random.Random, question: str, language: Language) -> dict[str, object]:
    said = text(varied(question, language, rng))
    return user(IMAGE, said) if rng.random() < 0.75 else user(said, IMAGE)
