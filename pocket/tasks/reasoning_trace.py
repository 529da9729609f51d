"""The text of thoughts: one object per line with its position.

    21,34 red circle: 1

The position is the center of the object in hundredths of the image's width and height.
"""

from pocket.world.lexicon import Language, ObjectKind, noun_phrase, with_article
from pocket.world.objects import SceneObject
from pocket.world.scenes import Scene

BOX_OPEN, BOX_CLOSE = "<|begin_of_box|>", "<|end_of_box|>"
YES: dict[Language, str] = {"en": "yes", "zh": "有"}
NO: dict[Language, str] = {"en": "no", "zh": "没有"}


def format_position(obj: SceneObject, scene: Scene) -> str:
    x, y = (min(max(int(100 * value / side), 0), 99) for value, side in zip((obj.x, obj.y), scene.size, strict=True))
    return f"{x:02},{y:02}"


def yes_or_no(is_so: bool, language: Language) -> str:
    """Return ``: yes`` or ``：没有``."""
    return (": " if language == "en" else "：") + (YES if is_so else NO)[language]


def trace_line(obj: SceneObject, scene: Scene, language: Language, remark: str = "") -> str:
    said = f"{format_position(obj, scene)} {noun_phrase(obj.kind, language)}"
    if not remark:
        return f"{said}\n"
    return f"{said}: {remark}\n" if language == "en" else f"{said}：{remark}\n"


def counting_trace(scene: Scene, kind: ObjectKind, language: Language) -> str:
    """List all objects and number those of the kind."""
    lines, number = [], 0
    for obj in scene.objects:
        is_one = obj.matches(kind)
        number += is_one
        lines.append(trace_line(obj, scene, language, str(number) if is_one else ""))
    return "".join(lines)


def search_header(kind: ObjectKind, language: Language) -> str:
    return f"Looking for {with_article(kind, 'en')}:\n" if language == "en" else f"找{noun_phrase(kind, 'zh')}：\n"


def scan_trace(scene: Scene, kind: ObjectKind, language: Language) -> tuple[str, bool]:
    """List objects in reading order up to the first of the kind, and return whether there is one.

    Thoughts that go straight to the object were right in 32 % (locate) and 63 % (attribute) of questions: the model would
    have to know the position before it looks.
    """
    lines: list[str] = []
    for obj in scene.objects:
        if obj.matches(kind):
            return "".join([*lines, trace_line(obj, scene, language, YES[language])]), True
        lines.append(trace_line(obj, scene, language))
    return "".join(lines), False


def search_trace(scene: Scene, kind: ObjectKind, language: Language) -> str:
    lines, is_found = scan_trace(scene, kind, language)
    return search_header(kind, language) + lines + ("" if is_found else f"{NO[language]}\n")


def format_box(obj: SceneObject, scene: Scene) -> str:
    """Return ``[x1,y1,x2,y2]`` in thousandths of the image."""
    sides = (*scene.size, *scene.size)
    corners = (min(max(round(1000 * edge / side), 0), 999) for edge, side in zip(obj.box, sides, strict=True))
    return "[" + ",".join(map(str, corners)) + "]"


def format_boxes(*boxes: str) -> str:
    return f"{BOX_OPEN}[{','.join(boxes)}]{BOX_CLOSE}"
