"""Questions about several images: which has more, which shows an object, what is on the third."""

import random

from pocket.tasks.aux_targets import aux_targets_of
from pocket.tasks.counting import choose_kind, near_miss
from pocket.tasks.example import IMAGE, Example, text, user
from pocket.tasks.reasoning_trace import NO, counting_trace, scan_trace, search_header
from pocket.world.lexicon import (
    ORDINALS,
    ZH_ORDINALS,
    Language,
    ObjectKind,
    join_list,
    phrase,
    vary_phrasing,
    with_article,
)
from pocket.world.scenes import Scene, SceneSpec, new_scene

MORE = {
    "en": (
        "Which picture has more {}?", "Which image has more {}?", "Are there more {} in the first or in the second picture?",
        "Compare the pictures: which has more {}?", "In which picture are there more {}?",
    ),
    "zh": ("哪张图的{}更多？", "哪张图片里的{}比较多？", "比较两张图，哪张的{}多？", "第一张和第二张图，哪张{}更多？"),
}  # fmt: skip
WHICH = {
    "en": (
        "Which picture shows {}?", "Which image shows {}?", "In which picture is {}?", "On which picture do you see {}?",
        "Which of the pictures has {}?",
    ),
    "zh": ("哪张图里有{}？", "哪张图片里有{}？", "{}在第几张图里？", "第几张图有{}？"),
}  # fmt: skip
WHAT_ON = {
    "en": (
        "What is in picture {}?", "What is on picture {}?", "What does picture {} show?", "What is in image {}?",
        "What do you see in picture {}?",
    ),
    "en-ordinal": ("What is in the {} picture?", "What does the {} image show?", "What is on the {} picture?"),
    "zh": ("第{}张图是什么？", "第{}张图里有什么？", "第{}张图片是什么？"),
}  # fmt: skip


def compare(rng: random.Random, sizes: list[tuple[int, int]], language: Language) -> Example:
    """Ask which of two images has more objects of a kind."""
    scenes = [new_scene(rng, size, SceneSpec(0, 6)) for size in sizes]
    kind = choose_kind(rng, rng.choice(scenes))
    numbers = [len(scene.matching(kind)) for scene in scenes]
    thought = ""
    for number, scene in enumerate(scenes):
        thought += f"{_head(number, language).rstrip()}\n{counting_trace(scene, kind, language)}"
    if numbers[0] == numbers[1]:
        answer = f"Both the same: {numbers[0]}" if language == "en" else f"一样多：{numbers[0]}"
    else:
        more = int(numbers[1] > numbers[0])
        comparison = f"{numbers[0]} > {numbers[1]}" if not more else f"{numbers[0]} < {numbers[1]}"
        answer = f"The {ORDINALS[more]}: {comparison}" if language == "en" else f"第{ZH_ORDINALS[more]}张：{comparison}"
    question = rng.choice(MORE[language]).format(phrase(kind, language, rng, plural=True))
    return _example("compare", rng, scenes, question, thought, answer, language)


def among(rng: random.Random, sizes: list[tuple[int, int]], language: Language) -> Example:
    """Ask what is on one of several images, or which one shows an object."""
    scenes = [new_scene(rng, size, SceneSpec(1, 2 if rng.random() < 0.3 else 1)) for size in sizes]
    number = rng.randrange(len(scenes))
    if rng.random() < 0.5:
        return _what_on(rng, scenes, number, language)
    return _which(rng, scenes, number, language)


def _what_on(rng: random.Random, scenes: list[Scene], number: int, language: Language) -> Example:
    content = _content(scenes[number], language)
    if language == "zh":
        question = rng.choice(WHAT_ON["zh"]).format(rng.choice([ZH_ORDINALS[number], str(number + 1)]))
    elif rng.random() < 0.5:
        question = rng.choice(WHAT_ON["en"]).format(number + 1)
    else:
        last = number == len(scenes) - 1 and rng.random() < 0.3
        question = rng.choice(WHAT_ON["en-ordinal"]).format("last" if last else ORDINALS[number])
    thought = f"{_head(number, language)}{content}\n"
    answer = content[0].upper() + content[1:] if content else ""
    return _example("among", rng, scenes, question, thought, answer, language)


def _which(rng: random.Random, scenes: list[Scene], number: int, language: Language) -> Example:
    """Ask which image shows an object; sometimes none does."""
    kind = rng.choice(scenes[number].objects).kind if scenes[number].objects else ObjectKind("red", "circle")
    if rng.random() < 0.3:
        kind = rng.choice([ObjectKind(kind.color), ObjectKind(None, kind.shape)])
    if rng.random() < 0.1:
        kind = near_miss(rng, scenes[number])
    said = phrase(kind, language, rng, plural=False)
    if language == "en":
        said = f"{'an' if said[0] in 'aeiou' else 'a'} {said}"
    question = rng.choice(WHICH[language]).format(said)
    thought = search_header(kind, language)
    for image, scene in enumerate(scenes):
        lines, is_found = scan_trace(scene, kind, language)
        thought += f"{_head(image, language).rstrip()}\n{lines}"
        if is_found:
            answer = f"Picture {image + 1}" if language == "en" else f"第{ZH_ORDINALS[image]}张"
            break
    else:
        thought += f"{NO[language]}\n"
        answer = "None of them" if language == "en" else "都没有"
    return _example("among", rng, scenes, question, thought, answer, language)


def _head(number: int, language: Language) -> str:
    return f"Picture {number + 1}: " if language == "en" else f"第{ZH_ORDINALS[number]}张："


def _content(scene: Scene, language: Language) -> str:
    names = [with_article(obj.kind, language) for obj in scene.objects]
    return join_list(names, language) or ("nothing" if language == "en" else "什么也没有")


def _example(
    skill: str, rng: random.Random, scenes: list[Scene], question: str, thought: str, answer: str, language: Language
) -> Example:
    image_parts = [IMAGE] * len(scenes)
    said = text(vary_phrasing(question, language, rng))
    parts = [*image_parts, said] if rng.random() < 0.75 else [said, *image_parts]
    images, targets = [scene.image() for scene in scenes], [aux_targets_of(scene.objects) for scene in scenes]
    return Example(skill, language, [user(*parts)], thought, answer, images, aux_targets=targets)
