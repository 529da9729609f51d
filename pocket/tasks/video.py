"""A short video: one thing after another, each for a while."""

import random

from PIL import Image

from engine.inputs.processor import Video
from pocket.tasks.aux_targets import Spot, spots_of
from pocket.tasks.example import VIDEO, Example, text, user
from pocket.world.lexicon import (
    COLORS,
    ORDINALS,
    SHAPES,
    ZH_COLORS,
    ZH_ORDINALS,
    ZH_SHAPES,
    Kind,
    Language,
    one,
    varied,
    with_article,
)
from pocket.world.objects import new_thing
from pocket.world.render import draw, new_look, stands_out

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


def film(rng: random.Random, size: tuple[int, int], seconds: int, language: Language) -> Example:
    """Each thing is shown for whole seconds: two frames are one look of the model."""
    shown = _shown(rng, seconds)
    frames, spots = _frames(rng, size, shown)
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
        wanted = None if last else number + 1
        thought = _looking_for(wanted, language) + _watched(shown, language, wanted)
        answer = _aspect(kinds[number], aspect, language)
    video = Video(frames, tuple(index / FPS for index in range(len(frames))))
    said = text(varied(question, language, rng))
    parts = [VIDEO, said] if rng.random() < 0.75 else [said, VIDEO]
    return Example("film", language, [user(*parts)], thought, answer, videos=[video], spots=spots)


def _looking_for(number: int | None, language: Language) -> str:
    """``Looking for number 3:``; None: the last one."""
    if language == "en":
        return f"Looking for {f'number {number}' if number else 'the last one'}:\n"
    return f"找{f'第{ZH_ORDINALS[number - 1]}' if number else '最后一'}个：\n"


def _watched(shown: list[Kind], language: Language, until: int | None = None) -> str:
    """Second by second; what comes anew is numbered. Up to this number, or to the end."""
    lines, number = [], 0
    for second, kind in enumerate(shown):
        is_new = second == 0 or kind != shown[second - 1]
        number += is_new
        begin, colon = (" s: ", ": ") if language == "en" else ("秒：", "：")
        lines.append(f"{second}{begin}{one(kind, language)}{f'{colon}{number}' if is_new else ''}\n")
        if number == until:
            break
    return "".join(lines)


def _shown(rng: random.Random, seconds: int) -> list[Kind]:
    """What is to be seen in each second; neighbours in time differ in colour and shape, or are the same."""
    shown: list[Kind] = []
    stay = rng.choice([0.0, 0.2, 0.5])
    for _ in range(seconds):
        if shown and rng.random() < stay:
            shown.append(shown[-1])
            continue
        colors = [color for color in COLORS if not shown or color != shown[-1].color]
        shapes = [shape for shape in SHAPES if not shown or shape != shown[-1].shape]
        shown.append(Kind(rng.choice(colors), rng.choice(shapes)))
    return shown


def _frames(rng: random.Random, size: tuple[int, int], shown: list[Kind]) -> tuple[list[Image.Image], list[list[Spot]]]:
    """Two a second, and what is to be seen in each. In some films the next thing comes half a second early: the model sees both in one look."""
    look = new_look(rng, wild=True)
    pictures: list[Image.Image] = []
    spots: list[list[Spot]] = []
    moves, hastes = rng.random() < 0.5, rng.random() < 0.25
    for number, kind in enumerate(shown):
        if number and kind == shown[number - 1] and not moves:
            pictures.append(pictures[-1])
            spots.append(spots[-1])
            continue
        radius = rng.uniform(0.2, 0.42) * min(size)
        x, y = (rng.uniform(1.05 * radius, side - 1.05 * radius) for side in size)
        for _ in range(12):
            thing = new_thing(rng, kind, x, y, radius, wild=True)
            if stands_out(thing.rgb, look) and (thing.paint == "hollow" or stands_out(thing.second, look)):
                break
        else:
            look = new_look(rng, wild=False)
        pictures.append(draw(size, [thing], look))
        spots.append(spots_of([thing]))
    frames = []
    for number, picture in enumerate(pictures):
        is_early = hastes and number + 1 < len(pictures) and rng.random() < 0.4
        frames += [picture, pictures[number + 1] if is_early else picture]
    return frames, spots


def _aspect(kind: Kind, aspect: str, language: Language) -> str:
    name = kind.color if aspect == "color" else kind.shape
    assert name
    if language == "zh":
        return (ZH_COLORS | ZH_SHAPES)[name]
    return name.capitalize()
