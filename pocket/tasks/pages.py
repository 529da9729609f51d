"""Questions about document pages with a large number on each."""

import random
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pocket.tasks.aux_targets import AuxTarget
from pocket.tasks.example import IMAGE, Example, text, user
from pocket.tasks.reasoning_trace import yes_or_no
from pocket.world.lexicon import COLORS, ORDINALS, ZH_ORDINALS, Language, vary_phrasing
from pocket.world.objects import Rgb, random_shade
from pocket.world.render import RenderStyle, degrade

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
    """Pillow's default font and the fonts of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._files: list[Path | None] = [None]
        if folder:
            self._files += sorted([*folder.rglob("*.ttf"), *folder.rglob("*.otf")])
        self._open: dict[tuple[Path | None, int], Font] = {}

    def any(self, rng: random.Random, size: int) -> Font:
        # Sizes are rounded so that few fonts are opened.
        key = rng.choice(self._files), max(8, size // 4 * 4)
        if key not in self._open:
            file, height = key
            self._open[key] = ImageFont.truetype(str(file), height) if file else ImageFont.load_default(height)
        return self._open[key]


def pages(rng: random.Random, sizes: list[tuple[int, int]], language: Language, fonts: Fonts) -> Example:
    numbers = [_number(rng) for _ in sizes]
    drawn = [_page(rng, size, number, fonts) for size, number in zip(sizes, numbers, strict=True)]
    images, targets = [image for image, _ in drawn], [targets for _, targets in drawn]
    asked = rng.randrange(len(numbers))
    thought, answer = f"{_head(asked, language)}{numbers[asked]}\n", numbers[asked]
    if len(numbers) == 1:
        question = rng.choice(READ_ONE[language])
    elif rng.random() < 0.35:
        question = rng.choice(WHICH_PAGE[language]).format(numbers[asked])
        asked = numbers.index(numbers[asked])
        thought = f"Looking for {numbers[asked]}:\n" if language == "en" else f"找{numbers[asked]}：\n"
        thought += "".join(
            f"{_head(page, language)}{compare_digits(numbers[page], numbers[asked], language)}\n"
            for page in range(asked + 1)
        )
        answer = f"Page {asked + 1}" if language == "en" else f"第{ZH_ORDINALS[asked]}页"
    elif language == "zh":
        question = rng.choice(READ_NTH["zh"]).format(rng.choice([ZH_ORDINALS[asked], str(asked + 1)]))
    elif rng.random() < 0.6:
        question = rng.choice(READ_NTH["en"]).format(asked + 1)
    else:
        question = rng.choice(READ_NTH["en-ordinal"]).format(ORDINALS[asked])
    said = text(vary_phrasing(question, language, rng))
    image_parts = [IMAGE] * len(images)
    parts = [*image_parts, said] if rng.random() < 0.75 else [said, *image_parts]
    return Example("pages", language, [user(*parts)], thought, answer, images, aux_targets=targets)


def _head(page: int, language: Language) -> str:
    return f"Page {page + 1}: " if language == "en" else f"第{ZH_ORDINALS[page]}页："


def compare_digits(read: str, expected: str, language: Language) -> str:
    """Return ``403: 44 00 37: no``: digit pairs of both numbers up to the first difference; ``-`` for a missing digit.

    With the number and ``yes`` or ``no`` alone, 44 % of the pages were found; with digit pairs 70 %.
    """
    pairs = []
    for digit, other in zip_longest(read, expected, fillvalue="-"):
        pairs.append(digit + other)
        if digit != other:
            break
    colon = ": " if language == "en" else "："
    return read + colon + " ".join(pairs) + yes_or_no(read == expected, language)


def _number(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.choice([1, 2, 2, 3, 3, 4])))


def _page(rng: random.Random, size: tuple[int, int], number: str, fonts: Fonts) -> tuple[Image.Image, list[AuxTarget]]:
    width, height = size
    paper: Rgb = (
        (rng.randint(225, 255),) * 3 if rng.random() < 0.85 else (255, rng.randint(235, 250), rng.randint(200, 235))
    )
    ink: Rgb = (rng.randint(0, 70),) * 3 if rng.random() < 0.75 else _dark(random_shade(rng, rng.choice(COLORS)))
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
    targets = _digits(pen, number, (x - left, y - top), font)
    if rng.random() < 0.5:
        _small_print(rng, pen, size, (y - 6, y + high + 6), ink, fonts)
    noise = rng.uniform(2, 8) if rng.random() < 0.15 else 0.0
    jpeg = rng.randint(50, 95) if rng.random() < 0.15 else None
    look = RenderStyle("plain", paper, paper, noise=noise, jpeg=jpeg, seed=rng.getrandbits(20))
    return degrade(canvas, look), targets


def _digits(pen: ImageDraw.ImageDraw, number: str, start: tuple[float, float], font: Font) -> list[AuxTarget]:
    targets = []
    for place, digit in enumerate(number):
        x = start[0] + pen.textlength(number[:place], font=font)
        left, top, right, bottom = pen.textbbox((x, start[1]), digit, font=font)
        targets.append(AuxTarget(digit, "", (left, top, right, bottom)))
    return targets


def _small_print(
    rng: random.Random,
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    kept: tuple[float, float],
    ink: Rgb,
    fonts: Fonts,
) -> None:
    """Draw a heading and bars instead of text: nothing with digits."""
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
