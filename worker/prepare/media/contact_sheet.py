"""A contact sheet: a video's frames and their times, for people."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CELLS = 60
"""At most; of more frames, every second, third … is shown."""
COLUMNS = 6
CELL = (240, 180)
LABEL_HEIGHT = 18


class ContactSheet:
    def __init__(self, frames: int) -> None:
        self._every = math.ceil(frames / CELLS)
        cells = math.ceil(frames / self._every)
        rows = math.ceil(cells / COLUMNS)
        self._sheet = Image.new("RGB", (min(cells, COLUMNS) * CELL[0], rows * (CELL[1] + LABEL_HEIGHT)), "white")
        self._draw = ImageDraw.Draw(self._sheet)
        self._font = ImageFont.load_default(13)
        self._seen = 0

    def add(self, frame: Image.Image, second: float) -> None:
        """The next frame."""
        number, self._seen = self._seen, self._seen + 1
        if number % self._every:
            return
        cell = number // self._every
        left, top = cell % COLUMNS * CELL[0], cell // COLUMNS * (CELL[1] + LABEL_HEIGHT)
        small = frame.copy()
        small.thumbnail((CELL[0] - 4, CELL[1] - 4))
        self._sheet.paste(small, (left + (CELL[0] - small.width) // 2, top + (CELL[1] - small.height) // 2))
        self._draw.text((left + 6, top + CELL[1]), clock_time(second), fill="black", font=self._font)

    def save(self, path: Path) -> None:
        self._sheet.save(path, "PNG")


def clock_time(second: float) -> str:
    minutes, seconds = divmod(round(second, 1), 60)
    return f"{int(minutes)}:{seconds:04.1f}"
