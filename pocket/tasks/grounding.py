"""Where is the …? Show all … What is at the …? Which colour is the …?"""

import random

from pocket.tasks.counting import near_miss, wanted
from pocket.tasks.example import Ask
from pocket.tasks.reasoning_trace import box_of, boxed, counted, line, searched
from pocket.world.lexicon import (
    COLORS,
    PLACES,
    SHAPES,
    ZH_COLORS,
    ZH_PLACES,
    ZH_SHAPES,
    Kind,
    Language,
    many,
    one,
    spoken,
    spoken_place,
    with_article,
)
from pocket.world.objects import Thing
from pocket.world.scenes import Scene

ABSENT = 0.08
"""Share of questions about something that is not there."""
NONE: dict[Language, str] = {"en": "There is none.", "zh": "没有。"}
MOST_BOXES = 4
"""Each takes about 22 tokens of the 128 that an answer has."""

WHERE = {
    "en": (
        "Where is the {}?", "Where is the {}?", "Locate the {}.", "Find the {}.", "Point to the {}.", "Show me the {}.",
        "Give the bounding box of the {}.", "Where is the {} in the picture?", "Draw a box around the {}.",
    ),
    "zh": ("{}在哪里？", "{}在哪儿？", "找出{}。", "定位{}。", "请框出{}。", "{}在什么位置？", "给出{}的边界框。", "图中的{}在哪里？"),
}  # fmt: skip
SHOW_ALL = {
    "en": (
        "How many {} are there? Show where.", "How many {} are there, and where are they?", "Find all {}.",
        "Locate all {}.", "Count the {} and show them.", "Where are the {}?", "Show me all the {}.", "Mark all {}.",
    ),
    "zh": ("有几个{}？在哪里？", "找出所有{}。", "有几个{}？请框出来。", "所有的{}在哪里？", "框出所有{}。", "数一数{}，并框出来。"),
}  # fmt: skip
AT_PLACE: dict[str, dict[Language, tuple[str, ...]]] = {
    "what": {
        "en": ("What is at the {}?", "What is in the {}?", "What do you see at the {}?", "Which object is at the {}?"),
        "zh": ("{}是什么？", "{}有什么？", "图片{}是什么？", "{}是什么图形？"),
    },
    "color": {
        "en": (
            "What colour is the shape at the {}?", "What color is the shape at the {}?", "Which colour is at the {}?",
            "What color is the object in the {}?", "What is the color of the shape at the {}?",
        ),
        "zh": ("{}的图形是什么颜色？", "{}是什么颜色？", "{}的物体是什么颜色的？", "图片{}的图形是什么颜色？"),
    },
    "shape": {
        "en": (
            "What shape is at the {}?", "Which shape is at the {}?", "What is the shape at the {}?",
            "What shape is the object in the {}?",
        ),
        "zh": ("{}是什么形状？", "{}的图形是什么形状？", "{}的物体是什么形状的？"),
    },
}  # fmt: skip
OF_KIND: dict[str, dict[Language, tuple[str, ...]]] = {
    "color": {
        "en": ("What colour is the {}?", "What color is the {}?", "Which colour does the {} have?", "Which color is the {}?"),
        "zh": ("{}是什么颜色？", "{}是什么颜色的？", "{}的颜色是什么？", "图中的{}是什么颜色？"),
    },
    "shape": {
        "en": ("What shape is {}?", "Which shape is {}?", "What shape is the {} one?", "What is the shape of the {} object?"),
        "zh": ("{}的是什么形状？", "什么图形是{}的？", "{}的图形是什么形状？", "哪个图形是{}的？"),
    },
}  # fmt: skip


def locate(rng: random.Random, scene: Scene, language: Language) -> Ask | None:
    """The only one of its kind; now and then one that is not there."""
    if rng.random() < ABSENT:
        kind = near_miss(rng, scene)
        if scene.matching(kind):
            return None
        answer = NONE[language]
    else:
        alone = _alone(scene, [thing.kind for thing in scene.things]) or _alone(
            scene, [Kind(thing.color) for thing in scene.things] + [Kind(None, thing.shape) for thing in scene.things]
        )
        if not alone:
            return None
        kind, thing = rng.choice(alone)
        if rng.random() < 0.3:
            looser = [part for part in (Kind(thing.color), Kind(None, thing.shape)) if len(scene.matching(part)) == 1]
            kind = rng.choice(looser or [kind])
        answer = boxed(box_of(thing, scene))
    question = rng.choice(WHERE[language]).format(spoken(kind, language, rng, plural=False))
    return Ask("locate", question, searched(scene, kind, language), answer)


def show(rng: random.Random, scene: Scene, language: Language) -> Ask | None:
    """How many, and a box for each."""
    kind = wanted(rng, scene)
    found = scene.matching(kind)
    if len(found) > MOST_BOXES:
        return None
    head = f"Counting {many(kind, 'en')}:\n" if language == "en" else f"数{one(kind, 'zh')}：\n"
    answer = str(len(found))
    for thing in found:
        name = one(thing.kind, language)
        answer += f"\n{name}{': ' if language == 'en' else '：'}{boxed(box_of(thing, scene))}"
    question = rng.choice(SHOW_ALL[language]).format(spoken(kind, language, rng, plural=True))
    return Ask("show", question, head + counted(scene, kind, language), answer)


def place(rng: random.Random, scene: Scene, language: Language) -> Ask | None:
    """What stands in a corner, at a side, in the middle."""
    clear = [(name, found) for name in PLACES if (found := scene.at(name)) is not None]
    if not clear:
        return None
    full = [item for item in clear if item[1]]
    name, found = rng.choice(full if full and rng.random() < 0.9 else clear)
    aspect = rng.choice(("what", "color", "shape"))
    said = spoken_place(name, language, rng)
    question = rng.choice(AT_PLACE[aspect][language]).format(said)
    head = f"At the {name}:\n" if language == "en" else f"{ZH_PLACES[name]}：\n"
    if not found:
        nothing = "nothing" if language == "en" else "什么也没有"
        return Ask("place", question, f"{head}{nothing}\n", nothing.capitalize())
    return Ask("place", question, head + line(found[0], scene, language), _aspect(found[0], aspect, language))


def attribute(rng: random.Random, scene: Scene, language: Language) -> Ask | None:
    """The colour of the only star; the shape of the only red thing; now and then of one that is not there."""
    aspect = rng.choice(("color", "shape"))
    if rng.random() < ABSENT:
        kind = Kind(None, rng.choice(SHAPES)) if aspect == "color" else Kind(rng.choice(COLORS))
        if scene.matching(kind):
            return None
        answer = NONE[language]
    else:
        kinds = [Kind(None, thing.shape) if aspect == "color" else Kind(thing.color) for thing in scene.things]
        alone = _alone(scene, kinds)
        if not alone:
            return None
        kind, thing = rng.choice(alone)
        answer = _aspect(thing, aspect, language)
    if aspect == "color":
        said = spoken(kind, language, rng, plural=False)
    else:
        assert kind.color
        said = kind.color if language == "en" else ZH_COLORS[kind.color]
    question = rng.choice(OF_KIND[aspect][language]).format(said)
    return Ask("attribute", question, searched(scene, kind, language), answer)


def _alone(scene: Scene, kinds: list[Kind]) -> list[tuple[Kind, Thing]]:
    """Those of which there is exactly one."""
    found = ((kind, scene.matching(kind)) for kind in dict.fromkeys(kinds))
    return [(kind, things[0]) for kind, things in found if len(things) == 1]


def _aspect(thing: Thing, aspect: str, language: Language) -> str:
    if aspect == "what":
        told = with_article(thing.kind, language)
        return told[0].upper() + told[1:]
    if aspect == "color":
        return thing.color.capitalize() if language == "en" else ZH_COLORS[thing.color]
    return thing.shape.capitalize() if language == "en" else ZH_SHAPES[thing.shape]
