"""Document pages with a large number on each."""

import random
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pocket.tasks.aux_targets import Spot
from pocket.tasks.example import IMAGE, Example, text, user
from pocket.tasks.reasoning_trace import yes_or_no
from pocket.world.lexicon import COLORS, ORDINALS, ZH_ORDINALS, Language, varied
from pocket.world.objects import Rgb, shade
from pocket.world.render import Look, weathered

READ_ONE = {
    "en": (
        "What number is on the page?", "Which number does the page show?", "Read the number.", "What number do you see?",
        "What does the page say?", "What is the number?", "Which number is written here?", "What number is on this page?",
        "What is written on the page?",
    ),
    "zh": ("页面上的数字是多少？", "这一页上写着什么数字？", "读出数字。", "数字是多少？", "你看到了什么数字？", "页面上写的是什么？"),
}  # fmt: skip
READ_NTH = {
    "en": (
        "What number is on page {}?", "Which number does page {} show?", "Read the number on page {}.",
        "What does page {} say?", "What is on page {}?",
    ),
    "en-ordinal": ("What number is on the {} page?", "Which number does the {} page show?"),
    "zh": ("第{}页上的数字是多少？", "第{}页写着什么数字？", "第{}页的数字是什么？"),
}  # fmt: skip
WHICH_PAGE = {
    "en": ("Which page shows the number {}?", "On which page is {}?", "Which page says {}?", "On which page is the number {}?"),
    "zh": ("哪一页写着{}？", "数字{}在第几页？", "{}在哪一页？"),
}  # fmt: skip
HEADINGS = ("Report", "Page", "Invoice", "Number", "Total", "Chapter", "Section", "Notes", "Summary", "Order")


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Fonts:
    """Pillow's own, and those of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._files: list[Path | None] = [None]
        if folder:
            self._files += sorted([*folder.rglob("*.ttf"), *folder.rglob("*.otf")])
        self._open: dict[tuple[Path | None, int], Font] = {}

    def any(self, rng: random.Random, size: int) -> Font:
        # Few sizes: each is opened once.
        key = rng.choice(self._files), max(8, size // 4 * 4)
        if key not in self._open:
            file, height = key
            self._open[key] = ImageFont.truetype(str(file), height) if file else ImageFont.load_default(height)
        return self._open[key]


def pages(rng: random.Random, sizes: list[tuple[int, int]], language: Language, fonts: Fonts) -> Example:
    numbers = [_number(rng) for _ in sizes]
    drawn = [_page(rng, size, number, fonts) for size, number in zip(sizes, numbers, strict=True)]
    pictures, spots = [picture for picture, _ in drawn], [spots for _, spots in drawn]
    asked = rng.randrange(len(numbers))
    thought, answer = f"{_head(asked, language)}{numbers[asked]}\n", numbers[asked]
    if len(numbers) == 1:
        question = rng.choice(READ_ONE[language])
    elif rng.random() < 0.35:
        question = rng.choice(WHICH_PAGE[language]).format(numbers[asked])
        asked = numbers.index(numbers[asked])
        thought = f"Looking for {numbers[asked]}:\n" if language == "en" else f"找{numbers[asked]}：\n"
        thought += "".join(
            f"{_head(page, language)}{compared(numbers[page], numbers[asked], language)}\n" for page in range(asked + 1)
        )
        answer = f"Page {asked + 1}" if language == "en" else f"第{ZH_ORDINALS[asked]}页"
    elif language == "zh":
        question = rng.choice(READ_NTH["zh"]).format(rng.choice([ZH_ORDINALS[asked], str(asked + 1)]))
    elif rng.random() < 0.6:
        question = rng.choice(READ_NTH["en"]).format(asked + 1)
    else:
        question = rng.choice(READ_NTH["en-ordinal"]).format(ORDINALS[asked])
    said = text(varied(question, language, rng))
    images = [IMAGE] * len(pictures)
    parts = [*images, said] if rng.random() < 0.75 else [said, *images]
    return Example("pages", language, [user(*parts)], thought, answer, pictures, spots=spots)


def _head(page: int, language: Language) -> str:
    return f"Page {page + 1}: " if language == "en" else f"第{ZH_ORDINALS[page]}页："


def compared(read: str, wanted: str, language: Language) -> str:
    """``403: 44 00 37: no``: beside each digit that of the number looked for, up to two that differ; ``-`` for none.

    With the number and its ``yes`` or ``no`` alone, a page was found in 44 % of questions.
    """
    pairs = []
    for digit, other in zip_longest(read, wanted, fillvalue="-"):
        pairs.append(digit + other)
        if digit != other:
            break
    colon = ": " if language == "en" else "："
    return read + colon + " ".join(pairs) + yes_or_no(read == wanted, language)


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.choice([1, 2, 2, 3, 3, 4])))


def _page(rng: random.Random, size: tuple[int, int], number: str, fonts: Fonts) -> tuple[Image.Image, list[Spot]]:
    width, height = size
    paper: Rgb = (
        (rng.randint(225, 255),) * 3 if rng.random() < 0.85 else (255, rng.randint(235, 250), rng.randint(200, 235))
    )
    ink: Rgb = (rng.randint(0, 70),) * 3 if rng.random() < 0.75 else _dark(shade(rng, rng.choice(COLORS)))
    canvas = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(canvas)
    tall = rng.uniform(0.14, 0.45) * height
    font = fonts.any(rng, int(tall))
    left, top, right, bottom = pen.textbbox((0, 0), number, font=font)
    room = 0.92 * width
    if right - left > room:
        font = fonts.any(rng, int(tall * room / (right - left)) - 4)
        left, top, right, bottom = pen.textbbox((0, 0), number, font=font)
    wide, high = right - left, bottom - top
    x = rng.choice([(width - wide) / 2, rng.uniform(0.04 * width, max(0.05 * width, 0.96 * width - wide))])
    y = rng.uniform(0.05 * height, max(0.06 * height, 0.95 * height - high))
    pen.text((x - left, y - top), number, ink, font=font)
    spots = _digits(pen, number, (x - left, y - top), font)
    if rng.random() < 0.5:
        _small_print(rng, pen, size, (y - 6, y + high + 6), ink, fonts)
    noise = rng.uniform(2, 8) if rng.random() < 0.15 else 0.0
    jpeg = rng.randint(50, 95) if rng.random() < 0.15 else None
    look = Look("plain", paper, paper, noise=noise, jpeg=jpeg, seed=rng.getrandbits(20))
    return weathered(canvas, look), spots


def _digits(pen: ImageDraw.ImageDraw, number: str, start: tuple[float, float], font: Font) -> list[Spot]:
    spots = []
    for place, digit in enumerate(number):
        x = start[0] + pen.textlength(number[:place], font=font)
        left, top, right, bottom = pen.textbbox((x, start[1]), digit, font=font)
        spots.append(Spot(digit, "", (left, top, right, bottom)))
    return spots


def _small_print(
    rng: random.Random,
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    kept: tuple[float, float],
    ink: Rgb,
    fonts: Fonts,
) -> None:
    """A heading, lines of text or bars in its stead: nothing with digits."""
    width, height = size
    font = fonts.any(rng, rng.choice([12, 16]))
    y = rng.uniform(4, 24)
    if y + 20 < kept[0] and rng.random() < 0.7:
        pen.text((0.08 * width, y), rng.choice(HEADINGS), ink, font=font)
        y += 30
    step = rng.uniform(9, 16)
    while y < height - 12:
        if y + 8 < kept[0] or y > kept[1]:
            pen.line((0.08 * width, y, rng.uniform(0.5, 0.92) * width, y), (170, 170, 170), rng.choice([1, 2, 3]))
        y += step
        if rng.random() < 0.12:
            y += 3 * step


def _dark(rgb: Rgb) -> Rgb:
    red, green, blue = (part * 150 // 255 for part in rgb)
    return red, green, blue
