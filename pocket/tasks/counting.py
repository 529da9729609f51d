"""How many …? Is there a …? What is there?"""

import random

from pocket.tasks.example import Ask
from pocket.tasks.reasoning_trace import counted, line, searched
from pocket.world.lexicon import COLORS, SHAPES, Kind, Language, joined, many, one, spoken, with_article
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


def wanted(rng: random.Random, scene: Scene) -> Kind:
    """Mostly something that is there, now and then all things, or something that is not there."""
    roll = rng.random()
    if roll < 0.12:
        return Kind()
    if scene.things and roll < 0.82:
        seen = rng.choice(scene.things)
        return rng.choice([Kind(seen.color), Kind(None, seen.shape), seen.kind, seen.kind])
    return near_miss(rng, scene)


def near_miss(rng: random.Random, scene: Scene) -> Kind:
    """Something that might be there: a colour and a shape that are, if not on one thing."""
    colors = list({thing.color for thing in scene.things}) or list(COLORS)
    shapes = list({thing.shape for thing in scene.things}) or list(SHAPES)
    kind = Kind(
        rng.choice(colors if rng.random() < 0.7 else COLORS), rng.choice(shapes if rng.random() < 0.7 else SHAPES)
    )
    return rng.choice([kind, kind, Kind(rng.choice(COLORS)), Kind(None, rng.choice(SHAPES))])


def count(rng: random.Random, scene: Scene, language: Language) -> Ask:
    kind = wanted(rng, scene)
    head = f"Counting {many(kind, 'en')}:\n" if language == "en" else f"数{one(kind, 'zh')}：\n"
    return Ask(
        "count",
        rng.choice(HOW_MANY[language]).format(spoken(kind, language, rng, plural=True)),
        head + counted(scene, kind, language),
        str(len(scene.matching(kind))),
    )


def exists(rng: random.Random, scene: Scene, language: Language) -> Ask:
    """It looks until it finds one."""
    kind = near_miss(rng, scene)
    if scene.things and rng.random() < 0.5:
        seen = rng.choice(scene.things)
        kind = rng.choice([seen.kind, seen.kind, Kind(seen.color), Kind(None, seen.shape)])
    found = bool(scene.matching(kind))
    name = spoken(kind, language, rng, plural=False)
    return Ask(
        "exists",
        rng.choice(IS_THERE[language]).format(_an(name) if language == "en" else name),
        searched(scene, kind, language),
        {"en": ("No", "Yes"), "zh": ("没有", "有")}[language][found],
    )


def describe(rng: random.Random, scene: Scene, language: Language) -> Ask:
    head = "I look from the top:\n" if language == "en" else "从上到下：\n"
    told = [with_article(thing.kind, language) for thing in scene.things]
    if not told:
        answer = "Nothing" if language == "en" else "什么也没有"
    else:
        answer = joined(told, language)
        answer = answer[0].upper() + answer[1:]
    lines = "".join(line(thing, scene, language) for thing in scene.things)
    return Ask("describe", rng.choice(WHAT[language]), head + lines, answer)


def _an(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
