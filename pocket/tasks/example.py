"""One thing to learn from: a conversation with its media, and what the model shall think and answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine.inputs.processor import Video
from pocket.tasks.aux_targets import Spot
from pocket.world.lexicon import Language


@dataclass(frozen=True)
class Ask:
    """A question, and how it is answered."""

    skill: str
    question: str
    thought: str
    answer: str


@dataclass(frozen=True)
class Example:
    skill: str
    language: Language
    messages: Sequence[dict[str, Any]]
    """As the engine takes them: role and content parts; the last one is the user's."""
    thought: str
    answer: str
    pictures: Sequence[Image.Image] = ()
    videos: Sequence[Video] = ()
    spots: Sequence[Sequence[Spot]] = ()
    """What is to be seen on each picture, or in each pair of frames; empty: nobody knows."""


IMAGE, VIDEO = {"type": "image"}, {"type": "video"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(answer: str) -> dict[str, Any]:
    """History keeps no thinking."""
    return {"role": "assistant", "content": [text(answer)]}
