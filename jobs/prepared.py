"""What the cpu worker hands to the gpu worker: ``prepared.json`` beside the normalised pictures."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PreparedImage:
    key: str
    """Of a PNG: RGB, upright, within the family's pixel bounds."""
    width: int
    height: int
    source_width: int
    """Of the client's picture, upright: the space in which boxes are reported."""
    source_height: int


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    messages: list[dict[str, Any]]
    """Role and content parts: ``{"type": "text", "text"}`` or ``{"type": "image"}``, images in order."""
    images: tuple[PreparedImage, ...]

    def to_json(self) -> bytes:
        return json.dumps({"v": 1, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "PreparedInputs":
        fields = json.loads(data)
        return cls(fields["messages"], tuple(PreparedImage(**image) for image in fields["images"]))
