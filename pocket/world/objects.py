"""Objects of a scene: kind, position and paint."""

import colorsys
import math
import random
from dataclasses import dataclass
from typing import Literal

from pocket.world.lexicon import ObjectKind

Rgb = tuple[int, int, int]
Point = tuple[float, float]
Paint = Literal["plain", "edged", "hollow", "striped", "shaded"]

SHADES: dict[str, list[tuple[tuple[float, float], tuple[float, float], tuple[float, float]]]] = {
    # Ranges of hue (degrees), saturation and value. Neighboring colors come close but never overlap.
    "red": [((-10, 8), (0.7, 1.0), (0.55, 1.0))],
    "orange": [((21, 39), (0.78, 1.0), (0.85, 1.0))],
    "yellow": [((46, 62), (0.5, 1.0), (0.85, 1.0))],
    "green": [((85, 158), (0.4, 1.0), (0.38, 0.95)), ((100, 135), (0.7, 1.0), (0.5, 1.0))],
    "blue": [((200, 244), (0.5, 1.0), (0.5, 1.0))],
    "purple": [((264, 302), (0.4, 1.0), (0.38, 0.85))],
    "pink": [((318, 352), (0.2, 0.6), (0.92, 1.0)), ((318, 338), (0.55, 0.95), (0.92, 1.0))],
    "black": [((0, 360), (0.0, 0.4), (0.0, 0.14))],
}


@dataclass(frozen=True)
class SceneObject:
    color: str
    shape: str
    rgb: Rgb
    outline: tuple[Point, ...]
    """Corners in pixels of the image that the model receives."""
    x: float
    """Center of the box in pixels."""
    y: float
    radius: float
    paint: Paint
    second: Rgb
    """Color of the edge, the stripes or the far end of the gradient."""
    stroke: float
    """Width of edge or stripes in pixels."""

    @property
    def kind(self) -> ObjectKind:
        return ObjectKind(self.color, self.shape)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        rim = self.stroke / 2 if self.paint in ("edged", "hollow") else 0
        xs, ys = zip(*self.outline, strict=True)
        return min(xs) - rim, min(ys) - rim, max(xs) + rim, max(ys) + rim

    def matches(self, kind: ObjectKind) -> bool:
        return kind.color in (None, self.color) and kind.shape in (None, self.shape)


def new_object(rng: random.Random, kind: ObjectKind, x: float, y: float, radius: float, *, varied: bool) -> SceneObject:
    """Return an object of a kind at a place; ``wild``: turned, edged and patterned ones too."""
    assert kind.color
    assert kind.shape
    rgb = random_shade(rng, kind.color)
    paint: Paint = rng.choices(("plain", "edged", "hollow", "striped", "shaded"), (55, 22, 8, 6, 9))[0]
    if not varied or (radius < 12 and paint in ("hollow", "striped")):
        paint = "plain"
    stroke = 0.0
    if paint == "edged":
        stroke = rng.uniform(1, max(1.5, 0.16 * radius))
    elif paint == "hollow":
        stroke = rng.uniform(max(3.0, 0.2 * radius), max(4.0, 0.34 * radius))
    elif paint == "striped":
        stroke = rng.uniform(3, max(4.0, 0.35 * radius))
    corners = [
        (x + radius * px, y + radius * py)
        for px, py in _turned(_corners(rng, kind.shape, varied), _turn(rng, kind, varied))
    ]
    xs, ys = zip(*corners, strict=True)
    return SceneObject(
        color=kind.color,
        shape=kind.shape,
        rgb=rgb,
        outline=tuple(corners),
        x=(min(xs) + max(xs)) / 2,
        y=(min(ys) + max(ys)) / 2,
        radius=radius,
        paint=paint,
        second=_second(rng, rgb, paint),
        stroke=stroke,
    )


def random_shade(rng: random.Random, color: str) -> Rgb:
    (hue, saturation, value) = rng.choice(SHADES[color])
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue) / 360 % 1, rng.uniform(*saturation), rng.uniform(*value))
    return _bytes(rgb)


def _second(rng: random.Random, rgb: Rgb, paint: Paint) -> Rgb:
    dark, light = blend(rgb, (0, 0, 0), rng.uniform(0.3, 0.75)), blend(rgb, (255, 255, 255), rng.uniform(0.3, 0.75))
    if paint == "edged":
        return rng.choice([dark, dark, (0, 0, 0), (60, 60, 60), light, (255, 255, 255)])
    return blend(rgb, rng.choice([(0, 0, 0), (255, 255, 255)]), rng.uniform(0.15, 0.4))


def blend(first: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, other, strict=True))
    return red, green, blue


def _bytes(rgb: tuple[float, float, float]) -> Rgb:
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def _turn(rng: random.Random, kind: ObjectKind, varied: bool) -> float:
    """Return a rotation in radians."""
    roll = rng.random()
    if not varied or roll < 0.55:
        return 0.0
    if roll < 0.88:
        return math.radians(rng.uniform(-12, 12))
    widest = 25 if kind.shape in ("square", "cross") else 180
    return math.radians(rng.uniform(-widest, widest))


def _turned(points: list[Point], angle: float) -> list[Point]:
    if not angle:
        return points
    sine, cosine = math.sin(angle), math.cos(angle)
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]


CIRCLE = [(math.cos(step * math.tau / 48), math.sin(step * math.tau / 48)) for step in range(48)]


def _corners(rng: random.Random, shape: str, varied: bool) -> list[Point]:
    """Return the corners of a shape about the size of a circle of radius 1 around (0, 0)."""
    jitter = rng.uniform if varied else lambda low, high: (low + high) / 2
    if shape == "circle":
        return CIRCLE
    if shape == "square":
        side = jitter(0.8, 0.95)
        return [(-side, -side), (side, -side), (side, side), (-side, side)]
    if shape == "triangle":
        half, foot = jitter(0.85, 1.1), jitter(0.6, 0.9)
        return [(0, -1), (half, foot), (-half, foot)]
    if shape == "star":
        inner = jitter(0.36, 0.5)
        radii = ((1, inner)[step % 2] for step in range(10))
        angles = (step * math.tau / 10 - math.tau / 4 for step in range(10))
        return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in zip(radii, angles, strict=True)]
    w, a = jitter(0.25, 0.4), 0.95
    return [
        (-w, -a), (w, -a), (w, -w), (a, -w), (a, w), (w, w), (w, a), (-w, a), (-w, w), (-a, w), (-a, -w), (-w, -w),
    ]  # fmt: skip
