"""Counting, existence and description questions."""

import random

from pocket.tasks.example import QuestionAnswer
from pocket.tasks.reasoning_trace import counting_trace, search_trace, trace_line
from pocket.world.lexicon import (
    COLORS,
    SHAPES,
    Language,
    ObjectKind,
    join_list,
    noun_phrase,
    phrase,
    plural_phrase,
    with_article,
)
from pocket.world.scenes import Scene

HOW_MANY = {
    "en": (
        "How many {} are there?", "How many {} are there?", "How many {} are in the picture?", "Count the {}.",
        "How many {} do you see?", "How many {} can you see in this image?", "How many {} are in this image?",
        "What is the number of {}?", "Count the {} in the picture.", "How many {} does the picture show?",
        "Tell me how many {} there are.",
    ),
    "zh": (
        "有几个{}？", "图中有几个{}？", "图中有多少个{}？", "图片里有多少{}？", "数一数{}。", "数一数有几个{}。", "一共有几个{}？",
        "这张图里有几个{}？", "{}有几个？", "请数出{}的数量。",
    ),
}  # fmt: skip
IS_THERE = {
    "en": (
        "Is there {}?", "Is there {}?", "Is there {} in the picture?", "Do you see {}?", "Can you see {}?",
        "Does the picture show {}?", "Is {} in this image?",
    ),
    "zh": ("有没有{}？", "图中有{}吗？", "图中有没有{}？", "有{}吗？", "图片里有{}吗？", "你看到{}了吗？"),
}  # fmt: skip
WHAT = {
    "en": (
        "What is on this picture?", "What is in the picture?", "Describe the picture.", "What do you see?",
        "What does the picture show?", "Describe this image.", "List the shapes.", "What shapes are there?",
        "What is shown here?", "Describe what you see.",
    ),
    "zh": ("图中有什么？", "描述这张图片。", "描述图片。", "你看到了什么？", "图片里有什么？", "图中有哪些图形？", "列出所有图形。"),
}  # fmt: skip


def choose_kind(rng: random.Random, scene: Scene) -> ObjectKind:
    """Choose a kind to ask about: mostly a present one, sometimes all objects or an absent one."""
    roll = rng.random()
    if roll < 0.12:
        return ObjectKind()
    if scene.objects and roll < 0.82:
        seen = rng.choice(scene.objects)
        return rng.choice([ObjectKind(seen.color), ObjectKind(None, seen.shape), seen.kind, seen.kind])
    return near_miss(rng, scene)


def near_miss(rng: random.Random, scene: Scene) -> ObjectKind:
    """Return a kind whose color and shape are in the scene, though perhaps not on one object."""
    colors = list(dict.fromkeys(obj.color for obj in scene.objects)) or list(COLORS)
    shapes = list(dict.fromkeys(obj.shape for obj in scene.objects)) or list(SHAPES)
    kind = ObjectKind(
        rng.choice(colors if rng.random() < 0.7 else COLORS), rng.choice(shapes if rng.random() < 0.7 else SHAPES)
    )
    return rng.choice([kind, kind, ObjectKind(rng.choice(COLORS)), ObjectKind(None, rng.choice(SHAPES))])


def count(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer:
    kind = choose_kind(rng, scene)
    head = f"Counting {plural_phrase(kind, 'en')}:\n" if language == "en" else f"数{noun_phrase(kind, 'zh')}：\n"
    return QuestionAnswer(
        "count",
        rng.choice(HOW_MANY[language]).format(phrase(kind, language, rng, plural=True)),
        head + counting_trace(scene, kind, language),
        str(len(scene.matching(kind))),
    )


def exists(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer:
    """Ask whether an object is there. The thought stops at the first match."""
    kind = near_miss(rng, scene)
    if scene.objects and rng.random() < 0.5:
        seen = rng.choice(scene.objects)
        kind = rng.choice([seen.kind, seen.kind, ObjectKind(seen.color), ObjectKind(None, seen.shape)])
    found = bool(scene.matching(kind))
    name = phrase(kind, language, rng, plural=False)
    return QuestionAnswer(
        "exists",
        rng.choice(IS_THERE[language]).format(_with_indefinite_article(name) if language == "en" else name),
        search_trace(scene, kind, language),
        {"en": ("No", "Yes"), "zh": ("没有", "有")}[language][found],
    )


def describe(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer:
    head = "I look from the top:\n" if language == "en" else "从上到下：\n"
    names = [with_article(obj.kind, language) for obj in scene.objects]
    if not names:
        answer = "Nothing" if language == "en" else "什么也没有"
    else:
        answer = join_list(names, language)
        answer = answer[0].upper() + answer[1:]
    lines = "".join(trace_line(obj, scene, language) for obj in scene.objects)
    return QuestionAnswer("describe", rng.choice(WHAT[language]), head + lines, answer)


def _with_indefinite_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
