"""Draws a contact sheet: an overview of a video's frames and their times, for people."""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MAX_CELLS = 60
"""Of a video with more frames, only every second, third … frame is drawn."""
COLUMNS = 6
CELL_SIZE = (240, 180)
LABEL_HEIGHT = 18


class ContactSheet:
    """A grid of small frames, each with its time below it.

    Args:
        frames: how many frames will be added.
    """

    def __init__(self, frames: int) -> None:
        self._stride = math.ceil(frames / MAX_CELLS)
        cells = math.ceil(frames / self._stride)
        rows = math.ceil(cells / COLUMNS)
        size = (min(cells, COLUMNS) * CELL_SIZE[0], rows * (CELL_SIZE[1] + LABEL_HEIGHT))
        self._sheet = Image.new("RGB", size, "white")
        self._draw = ImageDraw.Draw(self._sheet)
        self._font = ImageFont.load_default(13)
        self._num_added = 0

    def add(self, frame: Image.Image, time_s: float) -> None:
        """Add the next frame, which is shown at ``time_s`` of the video."""
        number, self._num_added = self._num_added, self._num_added + 1
        if number % self._stride:
            return
        cell = number // self._stride
        left, top = cell % COLUMNS * CELL_SIZE[0], cell // COLUMNS * (CELL_SIZE[1] + LABEL_HEIGHT)
        small = frame.copy()
        small.thumbnail((CELL_SIZE[0] - 4, CELL_SIZE[1] - 4))
        self._sheet.paste(small, (left + (CELL_SIZE[0] - small.width) // 2, top + (CELL_SIZE[1] - small.height) // 2))
        self._draw.text((left + 6, top + CELL_SIZE[1]), format_time(time_s), fill="black", font=self._font)

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG."""
        self._sheet.save(path, "PNG")


def format_time(time_s: float) -> str:
    """Format a time as minutes and seconds: ``1:05.3``."""
    minutes, seconds = divmod(round(time_s, 1), 60)
    return f"{int(minutes)}:{seconds:04.1f}"
