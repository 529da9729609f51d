"""Colors, shapes and positions of the pocket model's world, and their names in English and Chinese."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SHAPES = ("circle", "square", "triangle", "star", "cross")
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
"""Cells of a 3 × 3 grid in reading order."""

PLURALS = {shape: f"{shape}s" for shape in SHAPES} | {"cross": "crosses"}
ZH_COLORS = dict(zip(COLORS, ["红色", "橙色", "黄色", "绿色", "蓝色", "紫色", "粉色", "黑色"], strict=True))
ZH_SHAPES = dict(zip(SHAPES, ["圆形", "正方形", "三角形", "星形", "十字形"], strict=True))
ZH_PLACES = dict(
    zip(PLACES, ["左上角", "上方", "右上角", "左边", "中间", "右边", "左下角", "下方", "右下角"], strict=True)
)
ZH_ORDINALS = "一二三四五六七八"
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

# Synonyms in questions. Answers use the names above.
OTHER_PLURALS = {"square": ["boxes"], "circle": ["discs"]}
OTHER_ZH_SHAPES = {
    "circle": ["圆", "圆圈"], "square": ["方形", "方块"], "triangle": ["三角"], "star": ["星星", "五角星"],
    "cross": ["十字", "叉"],
}  # fmt: skip
OTHER_PLACES = {
    "top left": ["top left corner", "upper left"],
    "top right": ["top right corner", "upper right"],
    "bottom left": ["bottom left corner", "lower left"],
    "bottom right": ["bottom right corner", "lower right"],
    "middle": ["centre", "center"],
}
OTHER_ZH_PLACES = {
    "top left": ["左上方"], "top right": ["右上方"], "bottom left": ["左下方"], "bottom right": ["右下方"],
    "top": ["上边"], "bottom": ["下边"], "middle": ["中央", "正中间"], "left": ["左侧"], "right": ["右侧"],
}  # fmt: skip


@dataclass(frozen=True)
class ObjectKind:
    """What a question is about: a color, a shape, both, or (neither) any object."""

    color: str | None = None
    shape: str | None = None


def noun_phrase(kind: ObjectKind, language: Language) -> str:
    """``red circle``, ``red shape``, ``红色圆形``."""
    if language == "zh":
        return (ZH_COLORS[kind.color] if kind.color else "") + (ZH_SHAPES[kind.shape] if kind.shape else "图形")
    return " ".join(filter(None, (kind.color, kind.shape or "shape")))


def plural_phrase(kind: ObjectKind, language: Language) -> str:
    """``red circles``, ``shapes``, ``红色圆形``."""
    if language == "zh":
        return noun_phrase(kind, language)
    return " ".join(filter(None, (kind.color, PLURALS[kind.shape] if kind.shape else "shapes")))


def with_article(kind: ObjectKind, language: Language) -> str:
    """``a red circle``, ``an orange star``, ``一个红色圆形``."""
    named = noun_phrase(kind, language)
    if language == "zh":
        return f"一个{named}"
    return f"{'an' if named[0] in 'aeiou' else 'a'} {named}"


def phrase(kind: ObjectKind, language: Language, rng: random.Random, *, plural: bool) -> str:
    """Return a random synonym for a question, without an article."""
    if language == "zh":
        shape = rng.choice([ZH_SHAPES[kind.shape], *OTHER_ZH_SHAPES[kind.shape]]) if kind.shape else "图形"
        if not kind.shape:
            shape = rng.choice(["图形", "图形", "物体", "东西", "形状"])
        if not kind.color:
            return shape
        color = ZH_COLORS[kind.color]
        return rng.choice([color, f"{color}的", f"{color}的", color[0] if kind.shape else f"{color}的"]) + shape
    if kind.shape is None:
        noun = rng.choice(["shape", "object", "thing", "figure"] if kind.color else ["shape", "object", "figure"])
        noun = f"{noun}s" if plural else noun
    elif plural:
        noun = rng.choice([PLURALS[kind.shape]] * 6 + OTHER_PLURALS.get(kind.shape, []))
    else:
        noun = kind.shape
    return f"{kind.color} {noun}" if kind.color else noun


def phrase_place(place: str, language: Language, rng: random.Random) -> str:
    """``top left corner``, ``左上方``."""
    if language == "zh":
        return rng.choice([ZH_PLACES[place], *OTHER_ZH_PLACES[place]])
    return rng.choice([place, place, *OTHER_PLACES.get(place, [])])


def join_list(items: Sequence[str], language: Language) -> str:
    """``a, b and c``, ``a、b和c``."""
    if len(items) < 2:
        return "".join(items)
    comma, last = (", ", " and ") if language == "en" else ("、", "和")
    return comma.join(items[:-1]) + last + items[-1]


def vary_phrasing(question: str, language: Language, rng: random.Random) -> str:
    """Return the question with random changes of case, punctuation and politeness."""
    roll = rng.random()
    if language == "zh":
        if roll < 0.08:
            return f"请问{question}"
        if roll < 0.2:
            return question.rstrip("？。")
        return question.replace("？", "?") if roll < 0.3 else question
    if roll < 0.1:
        return question[0].lower() + question[1:]
    if roll < 0.2:
        return question.rstrip("?.")
    if roll < 0.26:
        return f"Please look: {question[0].lower()}{question[1:]}"
    return f"{question} {rng.choice(['Answer briefly.', 'Just the answer.'])}" if roll < 0.3 else question
