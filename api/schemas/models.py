"""The model of the service."""

from typing import Any, Literal

from api.schemas import examples
from api.schemas.base import Reply, with_example


class ModelReply(Reply):
    """The model that the service runs, in OpenAI's form with added fields."""

    model_config = with_example(examples.MODEL)

    id: str
    """The value of `MODEL`."""
    object: Literal["model"] = "model"
    created: int
    """Always 0; OpenAI's clients require it."""
    owned_by: str
    """Always `thinkqueue`; OpenAI's clients require it."""
    family: str
    """The model family, which determines the chat template and the limits."""
    context_tokens: int
    """Tokens of prompt, thinking and answer together."""
    defaults: dict[str, Any]
    """The values of the fields that a job leaves out."""
    limits: dict[str, int]
    """The limits of this installation."""
    media: dict[str, Any]
    """Formats and pixel limits by type of content part."""


class ModelList(Reply):
    """A list of the one model."""

    model_config = with_example(examples.MODEL_LIST)

    object: Literal["list"] = "list"
    data: list[ModelReply]
    """The model."""
