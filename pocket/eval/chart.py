"""Line charts drawn with Pillow, because a plotting library would be needed for two images only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE = (960, 540)
FRAME = (80, 56, 760, 470)
"""Left, top, right, bottom of the plotted area."""
COLORS = ("#3b6fb6", "#d1495b", "#2e8b57", "#e09f3e", "#7b4fa3", "#4a4a4a", "#17a2b8", "#a0522d", "#c71585", "#6b8e23")
SCALE = 2
"""Factor by which the chart is drawn larger and scaled down, for smooth lines."""


@dataclass(frozen=True)
class Series:
    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    file: Path,
    lines: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_tick_labels: Sequence[str] | None = None,
    top: float | None = None,
) -> None:
    """Write a line chart as PNG.

    Args:
        x_tick_labels: labels for x = 0, 1, 2 … instead of numbers.
        top: the highest value of the y axis.
    """
    plot = _Plot(lines, len(x_tick_labels) if x_tick_labels else None, top)
    plot.axes(x_tick_labels)
    for number, line in enumerate(lines):
        plot.line(line, COLORS[number % len(COLORS)], number, dots=x_tick_labels is not None)
    plot.write((FRAME[0], 16), title, 20)
    plot.write((FRAME[2], FRAME[3] + 44), x_label, 14, anchor="rs")
    plot.write((12, FRAME[1] - 22), y_label, 14)
    plot.save(file)


class _Plot:
    def __init__(self, lines: Sequence[Series], places: int | None, top: float | None) -> None:
        xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
        self._x = (0.0, float(places - 1) if places else max(xs))
        self._y = (0.0, top if top is not None else max(ys) * 1.05)
        self._canvas = Image.new("RGB", (SIZE[0] * SCALE, SIZE[1] * SCALE), "white")
        self._pen = ImageDraw.Draw(self._canvas)

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = FRAME
        x_label = (x - self._x[0]) / (self._x[1] - self._x[0] or 1)
        y_label = (y - self._y[0]) / (self._y[1] - self._y[0] or 1)
        return (left + x_label * (right - left)) * SCALE, (bottom - min(y_label, 1.0) * (bottom - top)) * SCALE

    def axes(self, x_tick_labels: Sequence[str] | None) -> None:
        for value in _ticks(self._y[1]):
            start, end = self.at(self._x[0], value), self.at(self._x[1], value)
            self._pen.line((*start, *end), "#dddddd", SCALE)
            self.write((FRAME[0] - 8, start[1] / SCALE + 5), f"{value:g}", 13, anchor="rs")
        ticks = (
            list(enumerate(x_tick_labels)) if x_tick_labels else [(value, f"{value:g}") for value in _ticks(self._x[1])]
        )
        for x, name in ticks:
            self.write((self.at(x, 0)[0] / SCALE, FRAME[3] + 20), name, 13, anchor="ms")

    def line(self, line: Series, color: str, number: int, *, dots: bool) -> None:
        places = [self.at(x, y) for x, y in line.points]
        self._pen.line(places, color, 2 * SCALE, joint="curve")
        if dots:
            for x, y in places:
                self._pen.ellipse((x - 4 * SCALE, y - 4 * SCALE, x + 4 * SCALE, y + 4 * SCALE), color)
        y = FRAME[1] + 22 * number
        self._pen.line(((FRAME[2] + 16) * SCALE, y * SCALE, (FRAME[2] + 36) * SCALE, y * SCALE), color, 3 * SCALE)
        self.write((FRAME[2] + 42, y + 5), line.name, 13)

    def write(self, place: tuple[float, float], text: str, size: int, anchor: str = "ls") -> None:
        x, y = place
        down = size if anchor == "ls" and size >= 14 else 0
        self._pen.text(
            (x * SCALE, (y + down) * SCALE), text, "#333333", ImageFont.load_default(size * SCALE), anchor=anchor
        )

    def save(self, file: Path) -> None:
        self._canvas.resize(SIZE, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)


def _ticks(end: float) -> list[float]:
    """Return about five round numbers from 0."""
    step = 10 ** math.floor(math.log10(end / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if end / (step * factor) <= 5.5)
    return [step * number for number in range(int(end / step + 1e-9) + 1)]
