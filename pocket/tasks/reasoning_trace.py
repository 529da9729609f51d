"""How the model thinks aloud: one thing a line, where it is and what it is.

    21,34 red circle: 1

The place is the thing's middle in hundredths of the picture's width and height.
"""

from pocket.world.lexicon import Kind, Language, one, with_article
from pocket.world.objects import Thing
from pocket.world.scenes import Scene

BOX_OPEN, BOX_CLOSE = "<|begin_of_box|>", "<|end_of_box|>"
YES: dict[Language, str] = {"en": "yes", "zh": "有"}
NO: dict[Language, str] = {"en": "no", "zh": "没有"}


def place_of(thing: Thing, scene: Scene) -> str:
    x, y = (
        min(max(int(100 * value / side), 0), 99) for value, side in zip((thing.x, thing.y), scene.size, strict=True)
    )
    return f"{x:02},{y:02}"


def yes_or_no(is_so: bool, language: Language) -> str:
    """``: yes``, ``：没有``."""
    return (": " if language == "en" else "：") + (YES if is_so else NO)[language]


def line(thing: Thing, scene: Scene, language: Language, remark: str = "") -> str:
    said = f"{place_of(thing, scene)} {one(thing.kind, language)}"
    if not remark:
        return f"{said}\n"
    return f"{said}: {remark}\n" if language == "en" else f"{said}：{remark}\n"


def counted(scene: Scene, kind: Kind, language: Language) -> str:
    """All things, those of the kind numbered."""
    lines, number = [], 0
    for thing in scene.things:
        is_one = thing.matches(kind)
        number += is_one
        lines.append(line(thing, scene, language, str(number) if is_one else ""))
    return "".join(lines)


def looking_for(kind: Kind, language: Language) -> str:
    return f"Looking for {with_article(kind, 'en')}:\n" if language == "en" else f"找{one(kind, 'zh')}：\n"


def walked(scene: Scene, kind: Kind, language: Language) -> tuple[str, bool]:
    """From the top until one of the kind is found: to go straight to it, one would have to know where it is."""
    lines: list[str] = []
    for thing in scene.things:
        if thing.matches(kind):
            return "".join([*lines, line(thing, scene, language, YES[language])]), True
        lines.append(line(thing, scene, language))
    return "".join(lines), False


def searched(scene: Scene, kind: Kind, language: Language) -> str:
    lines, is_found = walked(scene, kind, language)
    return looking_for(kind, language) + lines + ("" if is_found else f"{NO[language]}\n")


def box_of(thing: Thing, scene: Scene) -> str:
    """``[x1,y1,x2,y2]`` in thousandths of the picture."""
    sides = (*scene.size, *scene.size)
    corners = (min(max(round(1000 * edge / side), 0), 999) for edge, side in zip(thing.box, sides, strict=True))
    return "[" + ",".join(map(str, corners)) + "]"


def boxed(*boxes: str) -> str:
    return f"{BOX_OPEN}[{','.join(boxes)}]{BOX_CLOSE}"
