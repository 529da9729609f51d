"""The output of the prepare stage: ``prepared.json`` next to the normalized media."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from jobs.model.documents.document_format import known_fields, read_document

PREPARED_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PreparedImage:
    key: str
    """Object key of a PNG: RGB, upright, within the pixel limits of the model family."""
    width: int
    height: int
    source_width: int
    """Size of the client's image, upright, in whose coordinates boxes are reported; of a page, as rendered."""
    source_height: int
    page: int | None = None
    """Page number in a document, from 1; None: the image is not a page."""


@dataclass(frozen=True, slots=True)
class PreparedVideo:
    key: str
    """Object key of an uncompressed ZIP of the sampled frames: PNGs in the size that the model receives, in order."""
    width: int
    height: int
    seconds: tuple[float, ...]
    """Time of each frame."""
    source_width: int
    """Size of the client's video, upright."""
    source_height: int
    sheet_key: str
    """Object key of a PNG with all frames and their times, for people."""


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    messages: list[dict[str, Any]]
    """Roles and content parts in order: ``{"type": "text", "text"}``, ``{"type": "image"}``, ``{"type": "video"}``."""
    images: tuple[PreparedImage, ...]
    videos: tuple[PreparedVideo, ...] = ()
    required_tokens: int = 0
    """KV cache that the job may need; 0: not recorded."""

    def to_json(self) -> bytes:
        return json.dumps({"v": PREPARED_FORMAT, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "PreparedInputs":
        """Parse prepared inputs. Raises NewerDocument."""
        fields = read_document(data, known=PREPARED_FORMAT)
        videos = [
            {**known_fields(PreparedVideo, video), "seconds": tuple(video["seconds"])} for video in fields["videos"]
        ]
        return cls(
            fields["messages"],
            tuple(PreparedImage(**known_fields(PreparedImage, image)) for image in fields["images"]),
            tuple(PreparedVideo(**video) for video in videos),
            fields.get("required_tokens", 0),
        )
