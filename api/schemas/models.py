"""The model of the service."""

from typing import Any, Literal

from api.schemas import examples
from api.schemas.base import Reply, with_example


class ModelReply(Reply):
    """The model that the service runs, in OpenAI's form with added fields."""

    model_config = with_example(examples.MODEL)

    id: str
    """The value of `MODEL`, or an alias (`MODEL_ALIASES`)."""
    object: Literal["model"] = "model"
    created: int
    """Always 0; OpenAI's clients require it."""
    owned_by: str
    """Always `thinkqueue`; OpenAI's clients require it."""
    root: str
    """The value of `MODEL`; vLLM's clients read it."""
    parent: str | None
    """Always null; vLLM's clients read it."""
    max_model_len: int
    """The same as `context_tokens`, under vLLM's name."""
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
    """The one model, once for each of its names."""

    model_config = with_example(examples.MODEL_LIST)

    object: Literal["list"] = "list"
    data: list[ModelReply]
    """The model."""
