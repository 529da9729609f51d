"""A training example: a conversation with its media, the thought and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine.inputs.processor import Video
from pocket.tasks.aux_targets import AuxTarget
from pocket.world.lexicon import Language


@dataclass(frozen=True)
class QuestionAnswer:
    """A question with its thought and answer."""

    skill: str
    question: str
    thought: str
    answer: str


@dataclass(frozen=True)
class Example:
    skill: str
    language: Language
    messages: Sequence[dict[str, Any]]
    """Messages as the engine takes them (role, content parts); the last one is the user's."""
    thought: str
    answer: str
    images: Sequence[Image.Image] = ()
    videos: Sequence[Video] = ()
    aux_targets: Sequence[Sequence[AuxTarget]] = ()
    """Objects on each image or frame pair; empty if unknown."""


IMAGE, VIDEO = {"type": "image"}, {"type": "video"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(answer: str) -> dict[str, Any]:
    """Return an assistant message. The history of a conversation has no thoughts."""
    return {"role": "assistant", "content": [text(answer)]}
