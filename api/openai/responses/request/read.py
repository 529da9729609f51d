"""Reads a request for a response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from api.errors.wording import quoted
from api.openai.chat.request import add_token_limits
from api.openai.models import read_model
from api.openai.request.answer_format import read_stop, read_text_format
from api.openai.request.common_fields import COMMON_FIELDS
from api.openai.request.fields import (
    HONORED,
    IGNORED,
    UNSUPPORTED,
    Fields,
    FieldTable,
    NoEffect,
    Refused,
    invalid,
    read_fields,
    unknown_names,
)
from api.openai.request.forced_function import IN_RESPONSES, read_forced_function
from api.openai.request.origins import Origins
from api.openai.request.sampling import read_sampling
from api.openai.request.submission import Submission
from api.openai.request.token_limits import read_token_limits
from api.openai.request.turns import Conversation
from api.openai.responses.ids import job_id_of_response
from api.openai.responses.request.client_fields import ClientFields
from api.openai.responses.request.input import AnswerOf, add_input
from jobs.errors import Invalid, Problem
from runtime.settings import Settings

RESPONSE_FIELDS: FieldTable = {
    **COMMON_FIELDS,
    "input": HONORED,
    "instructions": HONORED,
    "background": HONORED,
    "background_options": HONORED,
    "previous_response_id": HONORED,
    "include": HONORED,
    "text": HONORED,
    "tools": HONORED,
    "tool_choice": HONORED,
    "user": HONORED,
    "max_tool_calls": IGNORED,
    "truncation": NoEffect(("disabled",), "shorten the input"),
    "conversation": Refused("send previous_response_id, or all messages in input"),
    "prompt": Refused("send the text of the prompt in instructions and input"),
    "context_management": Refused("shorten the input"),
}
STREAM_FIELDS: FieldTable = {"include_obfuscation": IGNORED, "include_usage": IGNORED}
TEXT_FIELDS: FieldTable = {"format": HONORED, "verbosity": IGNORED}
BACKGROUND_FIELDS: FieldTable = {"completion_window": HONORED, "continuation_id": IGNORED}
EXPIRES_S = {"soonest": None, "2h": 2 * 3600, "8h": 8 * 3600}
"""The deadline of each completion window; None: that of the service."""
UNSTORED_RETENTION_S = 600
"""How long a response with ``store: false`` is kept: its client may have lost the reply, and send the request again."""
INCLUDED_LOGPROBS = "message.output_text.logprobs"


class EarlierResponses(Protocol):
    """The tenant's earlier responses."""

    def require_previous(self, response_id: str) -> None:
        """Check that a response can be continued. Raises Invalid, which names ``previous_response_id``."""

    def answer_of(self, item_id: str) -> str | None:
        """As ``AnswerOf``."""


@dataclass(frozen=True)
class ResponseRequest:
    """A request, ready to be submitted."""

    submission: Submission
    is_stream: bool
    is_background: bool


def read_response_request(body: Mapping[str, Any], settings: Settings, earlier: EarlierResponses) -> ResponseRequest:
    """Translate a request.

    Args:
        earlier: the responses that it may continue or refer to.

    Raises:
        Invalid: names the client's fields.
        ModelNotFound, NotFound
    """
    fields = read_fields(body, RESPONSE_FIELDS)
    stream, text = fields.nested("stream_options", STREAM_FIELDS), fields.nested("text", TEXT_FIELDS)
    window = fields.nested("background_options", BACKGROUND_FIELDS)
    limits = read_token_limits(fields, settings.family)
    _check_include(fields)
    function = read_forced_function(fields, inside=IN_RESPONSES)
    client = ClientFields(
        model=read_model(fields, settings),
        instructions=_string(fields, "instructions"),
        previous_response_id=_string(fields, "previous_response_id"),
        background=_flag(fields, "background", default=False),
        store=_flag(fields, "store", default=True),
        max_output_tokens=limits.total,
        effort=limits.effort,
        summary=_summary(fields),
        has_summary=settings.reasoning_summary,
        function=function.name if function else None,
        user=user if isinstance(user := fields.get("user"), str) else None,
        ignored=[*unknown_names(fields, stream, text, window), *limits.unknown],
    )
    if client.background and not client.store:
        raise invalid(("store",), "must be true with background: a background response is retrieved later")
    origins = Origins(body)
    native = {
        **read_sampling(fields, origins),
        **read_stop(fields, origins),
        **(function.native(origins) if function else read_text_format(text, origins)),
        **_lifetimes(window, client, origins),
    }
    add_token_limits(native, limits, origins)
    native["messages"] = _messages(fields, client, origins, earlier.answer_of)
    if client.previous_response_id is not None:
        native["previous_job_id"] = _previous_job(client.previous_response_id)
        earlier.require_previous(client.previous_response_id)
        origins.add("/previous_job_id", ("previous_response_id",))
    if fields.get("metadata") is not None:
        native["metadata"] = fields.get("metadata")
    return ResponseRequest(
        Submission(native, origins, tuple(client.ignored), client.to_json()),
        is_stream=_flag(fields, "stream", default=False),
        is_background=client.background,
    )


def is_stream(body: Mapping[str, Any]) -> bool:
    """Whether a request that is not read yet asks for a stream."""
    return body.get("stream") is True


def waits(body: Mapping[str, Any]) -> bool:
    """Whether a request that is not read yet waits for the response or streams it."""
    return is_stream(body) or body.get("background") is not True


def previous_not_found() -> Invalid:
    """Return the error of a request that continues a response which does not exist."""
    message = "names a response that does not exist, has expired, or was not stored; send its messages in input"
    return Invalid([Problem("/previous_response_id", message, "previous_response_not_found")])


def _messages(fields: Fields, client: ClientFields, origins: Origins, answer_of: AnswerOf) -> list[dict[str, Any]]:
    conversation = Conversation(origins)
    if client.instructions:
        conversation.add_instructions(client.instructions, ("instructions",))
    add_input(conversation, fields.get("input"), answer_of)
    conversation.check("input")
    return conversation.messages


def _previous_job(response: str) -> str:
    job_id = job_id_of_response(response)
    if job_id is None:
        raise previous_not_found()
    return job_id


def _lifetimes(window: Fields, client: ClientFields, origins: Origins) -> dict[str, Any]:
    native: dict[str, Any] = {} if client.store else {"retention_seconds": UNSTORED_RETENTION_S}
    expected = "one of " + ", ".join(f'"{name}"' for name in EXPIRES_S)
    chosen = window.read("completion_window", lambda value: isinstance(value, str) and value in EXPIRES_S, expected)
    if (expires_s := EXPIRES_S.get(chosen or "")) is not None:
        native["expires_in"] = expires_s
        origins.add("/expires_in", (*window.at, "completion_window"))
    return native


def _check_include(fields: Fields) -> None:
    def is_list_of_strings(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)

    names = fields.read("include", is_list_of_strings, "a list of strings") or []
    if INCLUDED_LOGPROBS in names:
        message = f"is not supported with {quoted(INCLUDED_LOGPROBS)}: the service returns no probabilities"
        raise Invalid([Problem("/include", message, UNSUPPORTED)])


def _summary(fields: Fields) -> str | None:
    reasoning = fields.get("reasoning") or {}  # an object: read_token_limits has checked it
    for name in ("summary", "generate_summary"):
        value = reasoning.get(name)
        if value is None:
            continue
        if value not in ("auto", "concise", "detailed"):
            raise invalid(("reasoning", name), f'must be "auto", "concise" or "detailed", not {quoted(value)}')
        return str(value)
    return None


def _flag(fields: Fields, name: str, *, default: bool) -> bool:
    value = fields.read(name, lambda found: isinstance(found, bool), "true or false")
    return default if value is None else bool(value)


def _string(fields: Fields, name: str) -> str | None:
    value = fields.read(name, lambda found: isinstance(found, str), "a string")
    return None if value is None else str(value)
