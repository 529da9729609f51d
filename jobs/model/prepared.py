"""What the prepare worker hands to the generate worker: ``prepared.json`` beside the normalised media."""

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
    """Of the client's picture, upright: the space in which boxes are reported. Of a page: as it was drawn."""
    source_height: int
    page: int | None = None
    """Of a document, counted from 1; None: a picture of its own."""


@dataclass(frozen=True, slots=True)
class PreparedVideo:
    key: str
    """Of a ZIP, not compressed, of the frames to look at: PNGs at the size that the model sees, in order."""
    width: int
    height: int
    seconds: tuple[float, ...]
    """When each frame is shown."""
    source_width: int
    """Of the client's video, upright."""
    source_height: int
    sheet_key: str
    """Of a PNG with all frames and their times, for people."""


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    messages: list[dict[str, Any]]
    """Role and content parts: ``{"type": "text", "text"}``, ``{"type": "image"}``, ``{"type": "video"}``, in order."""
    images: tuple[PreparedImage, ...]
    videos: tuple[PreparedVideo, ...] = ()
    required_tokens: int = 0
    """KV room that the job may take; 0: it was not written down."""

    def to_json(self) -> bytes:
        return json.dumps({"v": 1, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "PreparedInputs":
        fields = json.loads(data)
        return cls(
            fields["messages"],
            tuple(PreparedImage(**image) for image in fields["images"]),
            tuple(PreparedVideo(**{**video, "seconds": tuple(video["seconds"])}) for video in fields["videos"]),
            fields.get("required_tokens", 0),
        )
