"""Reads a request for a chat completion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.errors.wording import quoted
from api.openai.models import read_model
from api.openai.request.answer_format import read_response_format, read_stop
from api.openai.request.common_fields import COMMON_FIELDS
from api.openai.request.fields import (
    HONORED,
    IGNORED,
    Fields,
    FieldTable,
    invalid,
    read_fields,
    unknown_names,
)
from api.openai.request.forced_function import IN_CHAT, read_forced_function
from api.openai.request.origins import Origins
from api.openai.request.sampling import read_sampling
from api.openai.request.submission import Submission
from api.openai.request.token_limits import TokenLimits, read_token_limits
from api.openai.request.turns import Conversation
from runtime.settings import Settings

CHAT_FIELDS: FieldTable = {
    **COMMON_FIELDS,
    "messages": HONORED,
    "store": IGNORED,  # a completion cannot be retrieved
    "response_format": HONORED,
    "tools": HONORED,
    "tool_choice": HONORED,
}
STREAM_FIELDS: FieldTable = {
    "include_usage": HONORED,
    "include_obfuscation": IGNORED,
    "continuous_usage_stats": IGNORED,
}


@dataclass(frozen=True)
class ChatRequest:
    """A request as a native one, and how to reply."""

    submission: Submission
    model: str
    """As the client calls it."""
    is_stream: bool
    includes_usage: bool
    """The last chunk of the stream has the usage."""
    function: str | None = None
    """Name of the function that the answer calls."""

    def options(self) -> dict[str, Any]:
        """Return what the reply depends on, as JSON."""
        return {
            "model": self.model,
            "is_stream": self.is_stream,
            "includes_usage": self.includes_usage,
            "function": self.function,
            "ignored": list(self.submission.ignored),
        }


def read_chat_request(body: Mapping[str, Any], settings: Settings) -> ChatRequest:
    """Translate a request.

    Raises:
        Invalid: names the client's fields.
        ModelNotFound
    """
    fields = read_fields(body, CHAT_FIELDS)
    model = read_model(fields, settings)
    stream = fields.nested("stream_options", STREAM_FIELDS)
    limits = read_token_limits(fields, settings.family)
    origins = Origins(body)
    function = read_forced_function(fields, inside=IN_CHAT)
    native: dict[str, Any] = {
        "messages": _messages(fields, origins),
        **read_sampling(fields, origins),
        **read_stop(fields, origins),
        **(function.native(origins) if function else read_response_format(fields, origins)),
    }
    add_token_limits(native, limits, origins)
    if fields.get("metadata") is not None:
        native["metadata"] = fields.get("metadata")
    return ChatRequest(
        Submission(native, origins, (*unknown_names(fields, stream), *limits.unknown)),
        model,
        is_stream=_is_true(fields, "stream"),
        includes_usage=_is_true(stream, "include_usage"),
        function=function.name if function else None,
    )


def is_stream(body: Mapping[str, Any]) -> bool:
    """Whether a request that is not read yet asks for a stream."""
    return body.get("stream") is True


def add_token_limits(native: dict[str, Any], limits: TokenLimits, origins: Origins) -> None:
    """Add a request's limits to the native request."""
    if limits.thinking_budget is not None:
        native["thinking"] = {"budget_tokens": limits.thinking_budget}
    if limits.total is not None:
        native["max_total_tokens"] = limits.total
    for pointer, steps in limits.sources:
        origins.add(pointer, steps)


def _messages(fields: Fields, origins: Origins) -> list[dict[str, Any]]:
    turns = fields.get("messages")
    if turns is None:
        raise invalid(("messages",), "is missing; add a list of messages")
    if not isinstance(turns, list):
        raise invalid(("messages",), f"must be a list of messages, not {quoted(turns)}")
    conversation = Conversation(origins)
    for index, turn in enumerate(turns):
        conversation.add_turn(turn, ("messages", index))
    conversation.check("messages")
    return conversation.messages


def _is_true(fields: Fields, name: str) -> bool:
    return bool(fields.read(name, lambda value: isinstance(value, bool), "true or false"))
