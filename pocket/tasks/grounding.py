"""Questions about positions and attributes, with boxes."""

import random

from pocket.tasks.counting import choose_kind, near_miss
from pocket.tasks.example import QuestionAnswer
from pocket.tasks.reasoning_trace import counting_trace, format_box, format_boxes, search_trace, trace_line
from pocket.world.lexicon import (
    COLORS,
    PLACES,
    SHAPES,
    ZH_COLORS,
    ZH_PLACES,
    ZH_SHAPES,
    Language,
    ObjectKind,
    noun_phrase,
    phrase,
    phrase_place,
    plural_phrase,
    with_article,
)
from pocket.world.objects import SceneObject
from pocket.world.scenes import Scene

ABSENT_SHARE = 0.08
"""Share of questions about an absent object."""
NONE: dict[Language, str] = {"en": "There is none.", "zh": "没有。"}
MAX_BOXES = 4
"""A box takes about 22 of the 128 tokens of an answer."""

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


def locate(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer | None:
    """Ask for the box of the only object of its kind, or of an absent one."""
    if rng.random() < ABSENT_SHARE:
        kind = near_miss(rng, scene)
        if scene.matching(kind):
            return None
        answer = NONE[language]
    else:
        alone = _unique(scene, [obj.kind for obj in scene.objects]) or _unique(
            scene,
            [ObjectKind(obj.color) for obj in scene.objects] + [ObjectKind(None, obj.shape) for obj in scene.objects],
        )
        if not alone:
            return None
        kind, obj = rng.choice(alone)
        if rng.random() < 0.3:
            looser = [
                part for part in (ObjectKind(obj.color), ObjectKind(None, obj.shape)) if len(scene.matching(part)) == 1
            ]
            kind = rng.choice(looser or [kind])
        answer = format_boxes(format_box(obj, scene))
    question = rng.choice(WHERE[language]).format(phrase(kind, language, rng, plural=False))
    return QuestionAnswer("locate", question, search_trace(scene, kind, language), answer)


def show(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer | None:
    """Ask for the number of objects and a box for each."""
    kind = choose_kind(rng, scene)
    found = scene.matching(kind)
    if len(found) > MAX_BOXES:
        return None
    head = f"Counting {plural_phrase(kind, 'en')}:\n" if language == "en" else f"数{noun_phrase(kind, 'zh')}：\n"
    answer = str(len(found))
    for obj in found:
        name = noun_phrase(obj.kind, language)
        answer += f"\n{name}{': ' if language == 'en' else '：'}{format_boxes(format_box(obj, scene))}"
    question = rng.choice(SHOW_ALL[language]).format(phrase(kind, language, rng, plural=True))
    return QuestionAnswer("show", question, head + counting_trace(scene, kind, language), answer)


def place(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer | None:
    """Ask what is at a corner, a side or the center."""
    clear = [(name, found) for name in PLACES if (found := scene.at(name)) is not None]
    if not clear:
        return None
    full = [item for item in clear if item[1]]
    name, found = rng.choice(full if full and rng.random() < 0.9 else clear)
    aspect = rng.choice(("what", "color", "shape"))
    said = phrase_place(name, language, rng)
    question = rng.choice(AT_PLACE[aspect][language]).format(said)
    head = f"At the {name}:\n" if language == "en" else f"{ZH_PLACES[name]}：\n"
    if not found:
        nothing = "nothing" if language == "en" else "什么也没有"
        return QuestionAnswer("place", question, f"{head}{nothing}\n", nothing.capitalize())
    return QuestionAnswer(
        "place", question, head + trace_line(found[0], scene, language), _aspect(found[0], aspect, language)
    )


def attribute(rng: random.Random, scene: Scene, language: Language) -> QuestionAnswer | None:
    """Ask for the color of the only star, or the shape of the only red object, or of an absent one."""
    aspect = rng.choice(("color", "shape"))
    if rng.random() < ABSENT_SHARE:
        kind = ObjectKind(None, rng.choice(SHAPES)) if aspect == "color" else ObjectKind(rng.choice(COLORS))
        if scene.matching(kind):
            return None
        answer = NONE[language]
    else:
        kinds = [ObjectKind(None, obj.shape) if aspect == "color" else ObjectKind(obj.color) for obj in scene.objects]
        alone = _unique(scene, kinds)
        if not alone:
            return None
        kind, obj = rng.choice(alone)
        answer = _aspect(obj, aspect, language)
    if aspect == "color":
        said = phrase(kind, language, rng, plural=False)
    else:
        assert kind.color
        said = kind.color if language == "en" else ZH_COLORS[kind.color]
    question = rng.choice(OF_KIND[aspect][language]).format(said)
    return QuestionAnswer("attribute", question, search_trace(scene, kind, language), answer)


def _unique(scene: Scene, kinds: list[ObjectKind]) -> list[tuple[ObjectKind, SceneObject]]:
    """Return the kinds of which there is exactly one object."""
    found = ((kind, scene.matching(kind)) for kind in dict.fromkeys(kinds))
    return [(kind, objects[0]) for kind, objects in found if len(objects) == 1]


def _aspect(obj: SceneObject, aspect: str, language: Language) -> str:
    if aspect == "what":
        name = with_article(obj.kind, language)
        return name[0].upper() + name[1:]
    if aspect == "color":
        return obj.color.capitalize() if language == "en" else ZH_COLORS[obj.color]
    return obj.shape.capitalize() if language == "en" else ZH_SHAPES[obj.shape]
