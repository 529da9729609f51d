"""Draws scenes with another renderer: SVG through librsvg, in CSS colors.

Used for evaluation only. It shows how the model handles images that ``render.py`` did not draw: smooth edges, other
shades, rounded corners, other proportions.
"""

import io
import math
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageColor

from pocket.world.objects import CIRCLE, Point, SceneObject
from pocket.world.render import PLAIN, is_visible_on
from pocket.world.scenes import Scene

PROGRAM = "rsvg-convert"
DRAW_LIMIT_S = 20

SHADES = {
    "red": ("red", "firebrick"),
    "orange": ("orange", "darkorange"),
    "yellow": ("yellow", "gold"),
    "green": ("green", "limegreen", "forestgreen"),
    "blue": ("blue", "royalblue", "mediumblue"),
    "purple": ("purple", "darkviolet", "rebeccapurple"),
    "pink": ("pink", "hotpink", "lightpink"),
    "black": ("black", "#222"),
}
GROUNDS = ("white", "ivory", "aliceblue", "whitesmoke", "#303030")


class NotInstalled(RuntimeError):
    """A program is missing. The message says which package to install."""


def redraw_as_svg(rng: random.Random, scene: Scene) -> tuple[Scene, Image.Image]:
    """Return the scene in another style and its image. Objects without contrast to the new background are removed.

    Raises:
        NotInstalled
    """
    ground = rng.choice(GROUNDS)
    look = replace(PLAIN, color=_rgb(ground), second=_rgb(ground))
    parts, objects = [f'<rect width="100%" height="100%" fill="{ground}"/>'], []
    for obj in scene.objects:
        name = rng.choice(SHADES[obj.color])
        if not is_visible_on(_rgb(name), look):
            continue
        shape, outline = _shape(rng, obj)
        edge = 'stroke="black" stroke-width="1.5"' if rng.random() < 0.2 else ""
        parts.append(f'<{shape} fill="{name}" {edge}/>')
        objects.append(replace(obj, outline=tuple(outline), paint="plain", stroke=0.0, rgb=_rgb(name)))
    width, height = scene.size
    text = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(parts)}</svg>'
    return Scene(scene.size, tuple(objects), look), _drawn(text)


def _shape(rng: random.Random, obj: SceneObject) -> tuple[str, Sequence[Point]]:
    """Return an SVG element without its paint, and its corners in pixels."""
    r = obj.radius

    def there(points: Sequence[Point]) -> list[Point]:
        return [(obj.x + r * x, obj.y + r * y) for x, y in points]

    if obj.shape == "circle":
        return f'circle cx="{obj.x:.1f}" cy="{obj.y:.1f}" r="{r:.1f}"', there(CIRCLE)
    if obj.shape == "square":
        side = 1.7 * r
        round_by = rng.choice([0, 0.08]) * side
        element = f'rect x="{obj.x - side / 2:.1f}" y="{obj.y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"'
        return f'{element} rx="{round_by:.1f}"', there([(-0.85, -0.85), (0.85, 0.85)])
    if obj.shape == "triangle":
        points = [(0.0, -0.9), (0.95, 0.75), (-0.95, 0.75)]
    elif obj.shape == "star":
        inner, turn = rng.choice([0.4, 0.45]), math.tau / 10
        points = [((1, inner)[n % 2] * math.sin(n * turn), -(1, inner)[n % 2] * math.cos(n * turn)) for n in range(10)]
    else:
        w = rng.choice([0.28, 0.35])
        quarter = [(-w, -0.9), (w, -0.9), (w, -w)]
        points = [_quarter_turned(point, turns) for turns in range(4) for point in quarter]
    corners = there(points)
    return f'polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}"', corners


def _quarter_turned(point: Point, turns: int) -> Point:
    x, y = point
    for _ in range(turns):
        x, y = -y, x
    return x, y


def _rgb(name: str) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(name)[:3]
    return red, green, blue


def _drawn(svg: str) -> Image.Image:
    program = shutil.which(PROGRAM)
    if not program:
        raise NotInstalled(f"{PROGRAM} is missing: apt install librsvg2-bin")
    done = subprocess.run([program], input=svg.encode(), capture_output=True, check=True, timeout=DRAW_LIMIT_S)
    return Image.open(io.BytesIO(done.stdout)).convert("RGB")
