"""Questions about short videos that show one object after another."""

import random

from PIL import Image

from engine.inputs.processor import Video
from pocket.tasks.aux_targets import AuxTarget, aux_targets_of
from pocket.tasks.example import VIDEO, Example, text, user
from pocket.world.lexicon import (
    COLORS,
    ORDINALS,
    SHAPES,
    ZH_COLORS,
    ZH_ORDINALS,
    ZH_SHAPES,
    Language,
    ObjectKind,
    noun_phrase,
    vary_phrasing,
    with_article,
)
from pocket.world.objects import new_object
from pocket.world.render import draw, is_visible_on, random_style

FPS = 2
ASK = {
    "color": {
        "en": (
            "Which colour came {}?", "Which color comes {}?", "What colour was shown {}?", "What color appears {}?",
            "What is the {} colour?", "What was the {} color?",
        ),
        "zh": ("第{}个颜色是什么？", "第{}个出现的是什么颜色？", "视频中第{}个图形是什么颜色？"),
    },
    "shape": {
        "en": ("Which shape came {}?", "What shape comes {}?", "What is the {} shape?", "Which shape appears {}?"),
        "zh": ("第{}个形状是什么？", "第{}个出现的是什么形状？", "视频中第{}个是什么形状？"),
    },
    "all": {
        "en": ("What happens in the video?", "What does the video show?", "Describe the video.", "What do you see?"),
        "zh": ("视频里有什么？", "描述这个视频。", "视频中出现了什么？"),
    },
}  # fmt: skip


def video_example(rng: random.Random, size: tuple[int, int], seconds: int, language: Language) -> Example:
    """Return a question about a video. Each object is shown for whole seconds: two frames form one input of the encoder."""
    shown = _shown(rng, seconds)
    frames, targets = _frames(rng, size, shown)
    kinds = [kind for number, kind in enumerate(shown) if number == 0 or kind != shown[number - 1]]
    number = rng.randrange(len(kinds))
    aspect = rng.choices(("color", "shape", "all"), (45, 35, 20))[0]
    if aspect == "all":
        question = rng.choice(ASK["all"][language])
        thought = _watched(shown, language)
        then = ", then " if language == "en" else "，然后"
        answer = then.join(with_article(kind, language) for kind in kinds)
        answer = answer[0].upper() + answer[1:]
    else:
        last = number == len(kinds) - 1 and rng.random() < 0.4
        nth = ("last" if last else ORDINALS[number]) if language == "en" else ZH_ORDINALS[number]
        question = rng.choice(ASK[aspect][language]).format(nth)
        if language == "zh" and last:
            question = question.replace(f"第{nth}", "最后一")
        number_asked = None if last else number + 1
        thought = _search_header(number_asked, language) + _watched(shown, language, number_asked)
        answer = _aspect(kinds[number], aspect, language)
    video = Video(frames, tuple(index / FPS for index in range(len(frames))))
    said = text(vary_phrasing(question, language, rng))
    parts = [VIDEO, said] if rng.random() < 0.75 else [said, VIDEO]
    return Example("video", language, [user(*parts)], thought, answer, videos=[video], aux_targets=targets)


def _search_header(number: int | None, language: Language) -> str:
    """Return ``Looking for number 3:``. None asks for the last one."""
    if language == "en":
        return f"Looking for {f'number {number}' if number else 'the last one'}:\n"
    return f"找{f'第{ZH_ORDINALS[number - 1]}' if number else '最后一'}个：\n"


def _watched(shown: list[ObjectKind], language: Language, until: int | None = None) -> str:
    """List the objects second by second and number each new one, up to ``until`` or the end."""
    lines, number = [], 0
    for second, kind in enumerate(shown):
        is_new = second == 0 or kind != shown[second - 1]
        number += is_new
        init_weights, colon = (" s: ", ": ") if language == "en" else ("秒：", "：")
        lines.append(f"{second}{init_weights}{noun_phrase(kind, language)}{f'{colon}{number}' if is_new else ''}\n")
        if number == until:
            break
    return "".join(lines)


def _shown(rng: random.Random, seconds: int) -> list[ObjectKind]:
    """Return the kind shown in each second. Successive kinds are equal or differ in color and shape."""
    shown: list[ObjectKind] = []
    stay = rng.choice([0.0, 0.2, 0.5])
    for _ in range(seconds):
        if shown and rng.random() < stay:
            shown.append(shown[-1])
            continue
        colors = [color for color in COLORS if not shown or color != shown[-1].color]
        shapes = [shape for shape in SHAPES if not shown or shape != shown[-1].shape]
        shown.append(ObjectKind(rng.choice(colors), rng.choice(shapes)))
    return shown


def _frames(
    rng: random.Random, size: tuple[int, int], shown: list[ObjectKind]
) -> tuple[list[Image.Image], list[list[AuxTarget]]]:
    """Return two frames per second and their targets. In some videos the next object appears half a second early."""
    look = random_style(rng, varied=True)
    images: list[Image.Image] = []
    targets: list[list[AuxTarget]] = []
    moves, is_hasty = rng.random() < 0.5, rng.random() < 0.25
    for number, kind in enumerate(shown):
        if number and kind == shown[number - 1] and not moves:
            images.append(images[-1])
            targets.append(targets[-1])
            continue
        radius = rng.uniform(0.2, 0.42) * min(size)
        x, y = (rng.uniform(1.05 * radius, side - 1.05 * radius) for side in size)
        for _ in range(12):
            obj = new_object(rng, kind, x, y, radius, varied=True)
            if is_visible_on(obj.rgb, look) and (obj.paint == "hollow" or is_visible_on(obj.second, look)):
                break
        else:
            look = random_style(rng, varied=False)
        images.append(draw(size, [obj], look))
        targets.append(aux_targets_of([obj]))
    frames = []
    for number, image in enumerate(images):
        is_early = is_hasty and number + 1 < len(images) and rng.random() < 0.4
        frames += [image, images[number + 1] if is_early else image]
    return frames, targets


def _aspect(kind: ObjectKind, aspect: str, language: Language) -> str:
    name = kind.color if aspect == "color" else kind.shape
    assert name
    if language == "zh":
        return (ZH_COLORS | ZH_SHAPES)[name]
    return name.capitalize()
