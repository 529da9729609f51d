"""Reads the input of a response: a string, or items."""

from collections.abc import Callable, Sequence
from typing import Any

from api.errors.pointers import Step
from api.errors.wording import quoted
from api.openai.request.fields import invalid, unsupported
from api.openai.request.turns import NO_CALLS, NO_TOOLS, Conversation
from jobs.errors import Invalid

MAX_ITEMS = 256
"""As many messages as a job may have."""

AnswerOf = Callable[[str], str | None]
"""Returns the text of an earlier response by the id of one of its items; None: the item has no text for the model.

Raises NotFound: there is no such response.
"""


def add_input(conversation: Conversation, value: Any, answer_of: AnswerOf) -> None:
    """Add the input of a request to its conversation.

    Raises:
        Invalid: it has no valid form, or something that the model does not support.
        NotFound: it refers to an item that does not exist.
    """
    if value is None:
        raise invalid(("input",), "is missing; add a string or a list of messages")
    if isinstance(value, str):
        conversation.add_turn({"role": "user", "content": value}, ("input",))
        return
    if not isinstance(value, list):
        raise invalid(("input",), f"must be a string or a list of messages, not {quoted(value)}")
    if len(value) > MAX_ITEMS:
        raise invalid(("input",), f"has {len(value)} items; the limit is {MAX_ITEMS}")
    for index, item in enumerate(value):
        _add_item(conversation, item, ("input", index), answer_of)


def _add_item(conversation: Conversation, item: Any, at: Sequence[Step], answer_of: AnswerOf) -> None:
    if not isinstance(item, dict):
        raise invalid(at, f'must be an object such as {{"role": "user", "content": "…"}}, not {quoted(item)}')
    kind = item.get("type")
    if kind == "item_reference" or (kind is None and "role" not in item and "id" in item):
        _add_reference(conversation, item, at, answer_of)
    elif kind == "reasoning":
        return  # earlier thinking: the model does not see it again
    elif kind in (None, "message"):
        conversation.add_turn(item, at)
    elif isinstance(kind, str) and kind.endswith("_output"):
        raise Invalid([unsupported((*at, "type"), NO_TOOLS)])
    elif isinstance(kind, str) and kind.endswith("_call"):
        raise Invalid([unsupported((*at, "type"), NO_CALLS)])
    else:
        raise invalid((*at, "type"), f'must be "message", "reasoning" or "item_reference", not {quoted(kind)}')


def _add_reference(conversation: Conversation, item: dict[str, Any], at: Sequence[Step], answer_of: AnswerOf) -> None:
    reference = item.get("id")
    if not isinstance(reference, str):
        raise invalid((*at, "id"), f"must be the id of an item, not {quoted(reference)}")
    if (text := answer_of(reference)) is not None:
        conversation.add_turn({"role": "assistant", "content": text}, at)
