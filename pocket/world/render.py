"""Draws scenes: backgrounds, paints, and the artifacts of cameras and codecs."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pocket.world.objects import Rgb, SceneObject, blend

Background = Literal["plain", "gradient", "ruled", "speckled"]
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)

NOISE = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
"""Normal noise. Images use slices of it, because sampling takes longer than drawing."""


@dataclass(frozen=True)
class RenderStyle:
    """How an image is drawn, apart from its objects."""

    background: Background
    color: Rgb
    second: Rgb
    scale: float = 1.0
    """Factor by which the image is drawn larger and scaled down; 1 draws without antialiasing."""
    resampling: Image.Resampling = Image.Resampling.BICUBIC
    blur: float = 0.0
    noise: float = 0.0
    """Standard deviation on the scale of 0 to 255."""
    jpeg: int | None = None
    """JPEG quality; None means no compression."""
    seed: int = 0


PLAIN = RenderStyle("plain", (250, 250, 250), (230, 230, 230), scale=1.5)


def random_style(rng: random.Random, *, varied: bool) -> RenderStyle:
    if not varied:
        return replace(PLAIN, color=(rng.randint(235, 255),) * 3)
    color = _ground(rng)
    return RenderStyle(
        background=rng.choices(("plain", "gradient", "ruled", "speckled"), (64, 18, 10, 8))[0],
        color=color,
        second=blend(color, rng.choice([(0, 0, 0), (255, 255, 255), (128, 128, 128)]), rng.uniform(0.05, 0.2)),
        scale=1.0 if rng.random() < 0.35 else rng.uniform(1.15, 2.0),
        resampling=rng.choice(FILTERS),
        blur=rng.uniform(0.3, 0.9) if rng.random() < 0.1 else 0.0,
        noise=rng.uniform(2, 14) if rng.random() < 0.3 else 0.0,
        jpeg=rng.randint(35, 95) if rng.random() < 0.25 else None,
        seed=rng.getrandbits(20),
    )


def _ground(rng: random.Random) -> Rgb:
    roll = rng.random()
    if roll < 0.4:
        low = rng.choice([255, 255, 245, 230])
        return (rng.randint(low, 255),) * 3
    if roll < 0.7:
        return (rng.randint(200, 255), rng.randint(200, 255), rng.randint(190, 255))
    if roll < 0.85:
        return (rng.randint(0, 60), rng.randint(0, 60), rng.randint(0, 70))
    return (rng.randint(100, 190),) * 3


def is_visible_on(rgb: Rgb, look: RenderStyle) -> bool:
    """Return whether a color contrasts with the background."""
    return all(sum(abs(a - b) for a, b in zip(rgb, ground, strict=True)) > 130 for ground in (look.color, look.second))


def draw(size: tuple[int, int], objects: Sequence[SceneObject], look: RenderStyle) -> Image.Image:
    """Return an RGB image of this (width, height)."""
    width, height = round(size[0] * look.scale), round(size[1] * look.scale)
    canvas = _canvas(width, height, look)
    pen = ImageDraw.Draw(canvas)
    for obj in objects:
        _paint(canvas, pen, obj, (width / size[0], height / size[1]))
    if canvas.size != size:
        canvas = canvas.resize(size, look.resampling)
    return degrade(canvas, look)


def _canvas(width: int, height: int, look: RenderStyle) -> Image.Image:
    canvas = Image.new("RGB", (width, height), look.color)
    if look.background == "plain":
        return canvas
    rng = random.Random(look.seed)
    if look.background == "gradient":
        ramp = Image.linear_gradient("L")
        if rng.random() < 0.5:
            ramp = ramp.rotate(90)
        far = Image.new("RGB", (width, height), look.second)
        return Image.composite(far, canvas, ramp.resize((width, height), Image.Resampling.BILINEAR))
    pen = ImageDraw.Draw(canvas)
    if look.background == "ruled":
        step = rng.uniform(14, 40) * look.scale
        for number in range(1, int(height / step) + 1):
            pen.line((0, number * step, width, number * step), look.second)
        if rng.random() < 0.5:
            for number in range(1, int(width / step) + 1):
                pen.line((number * step, 0, number * step, height), look.second)
        return canvas
    for _ in range(rng.randint(20, 80)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.5, 1.5) * look.scale
        pen.ellipse((x - r, y - r, x + r, y + r), look.second)
    return canvas


def _paint(canvas: Image.Image, pen: ImageDraw.ImageDraw, obj: SceneObject, scale: tuple[float, float]) -> None:
    corners = [(x * scale[0], y * scale[1]) for x, y in obj.outline]
    stroke = max(1, round(obj.stroke * scale[0]))
    if obj.paint == "plain":
        pen.polygon(corners, obj.rgb)
    elif obj.paint == "edged":
        pen.polygon(corners, obj.rgb)
        _edge(pen, corners, obj.second, stroke)
    elif obj.paint == "hollow":
        _edge(pen, corners, obj.rgb, stroke)
    else:
        _pattern(canvas, obj, corners, stroke)


def _edge(pen: ImageDraw.ImageDraw, corners: list[tuple[float, float]], rgb: Rgb, width: int) -> None:
    pen.line([*corners, *corners[:2]], rgb, width, joint="curve")


def _pattern(canvas: Image.Image, obj: SceneObject, corners: list[tuple[float, float]], stroke: int) -> None:
    xs, ys = zip(*corners, strict=True)
    left, top = int(min(xs)), int(min(ys))
    size = (int(max(xs)) - left + 2, int(max(ys)) - top + 2)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in corners], 255)
    fill = Image.new("RGB", size, obj.rgb)
    if obj.paint == "striped":
        pen = ImageDraw.Draw(fill)
        lean = size[1] if int(obj.x) % 2 else 0
        for x in range(-lean, size[0], 2 * stroke):
            pen.line((x, 0, x + lean, size[1]), obj.second, stroke)
    else:
        ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
        fill = Image.composite(Image.new("RGB", size, obj.second), fill, ramp)
    canvas.paste(fill, (left, top), mask)


def degrade(image: Image.Image, look: RenderStyle) -> Image.Image:
    if look.blur:
        image = image.filter(ImageFilter.GaussianBlur(look.blur))
    if look.noise:
        pixels = np.asarray(image, dtype=np.float32)
        start = look.seed % (len(NOISE) - pixels.size) if pixels.size < len(NOISE) else 0
        grain = NOISE[start : start + pixels.size].reshape(pixels.shape)
        image = Image.fromarray((pixels + grain * look.noise).clip(0, 255).astype(np.uint8))
    if look.jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=look.jpeg)
        image = Image.open(file).convert("RGB")
    return image
