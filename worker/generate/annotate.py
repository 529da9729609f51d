"""Draws boxes into an image."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
SCALE = 1_000


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[Sequence[float], str | None]]) -> bytes:
    """Return the image as a PNG with each box in a colour of its own.

    Args:
        boxes: left, top, right and bottom in thousandths of the sides, and a label or None.
    """
    canvas = image.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(max(canvas.size) / 300))
    font = ImageFont.load_default(max(11, round(max(canvas.size) / 50)))
    for number, (corners, label) in enumerate(boxes):
        color = COLORS[number % len(COLORS)]
        sides = (canvas.width, canvas.height) * 2
        left, top, right, bottom = (
            min(corner * side / SCALE, side - 1) for corner, side in zip(corners, sides, strict=True)
        )
        draw.rectangle((left, top, right, bottom), outline=color, width=line)
        _write_label(draw, (left, top), label or str(number + 1), color, font)
    out = io.BytesIO()
    canvas.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _write_label(draw: ImageDraw.ImageDraw, corner: tuple[float, float], label: str, color: str, font: object) -> None:
    """Write a label above its box, or inside it where there is no room above."""
    text = label.replace("\n", " ")[:60]
    left, top = corner
    _, _, width, height = draw.textbbox((0, 0), text, font=font)  # type: ignore[arg-type]
    above = top - height - 4 if top >= height + 4 else top
    draw.rectangle((left, above, left + width + 6, above + height + 4), fill=color)
    draw.text((left + 3, above + 1), text, fill="white", font=font)  # type: ignore[arg-type]
