"""Says in the API's own words what is wrong with a value: no sentence of the validator reaches a client."""

import json
from collections.abc import Callable, Mapping
from typing import Any

MAX_QUOTED = 40
"""Characters of a client's value in a message."""

EXAMPLES = {
    "messages": 'a list such as [{"role": "user", "content": "…"}]',
    "content": 'a string, or a list of parts such as [{"type": "text", "text": "…"}]',
    "image_url": 'an object such as {"url": "https://…"}',
    "video_url": 'an object such as {"url": "https://…"}',
    "file": 'an object such as {"file_url": "https://…"}',
    "thinking": 'an object such as {"budget_tokens": 2048}',
    "sampling": 'an object such as {"temperature": 0.7}',
    "callback": 'an object such as {"url": "https://…"}',
    "events": 'a list such as ["job.completed"]',
    "result_urls": 'a list such as ["https://…"]',
    "metadata": 'an object such as {"order": "A-17"}',
    "etags": "a list of strings",
}
"""The form of a field that is an object or a list."""

REQUIRED = {
    "messages",
    "content",
    "role",
    "type",
    "text",
    "image_url",
    "video_url",
    "file",
    "url",
    "budget_tokens",
    "bytes",
}
"""Fields without a default."""

Context = Mapping[str, Any]


def type_name(value: Any) -> str:
    """Return what JSON calls the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), "another type")


def quoted(value: Any) -> str:
    """Return a client's value for a message, cut to ``MAX_QUOTED`` characters; only the type of a list or object."""
    if isinstance(value, dict | list) or value is None:
        return type_name(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 1]}…"


def _must_be(expected: str) -> Callable[[Context, Any], str]:
    def say(_context: Context, value: Any) -> str:
        return f"must be {expected}, not {type_name(value)}"

    return say


def _must_be_number(expected: str) -> Callable[[Context, Any], str]:
    """For query parameters too, whose values are always strings."""
    return lambda _context, value: f"must be {expected}, not {quoted(value)}"


def _one_of(context: Context, value: Any) -> str:
    return f"must be {context['expected']}, not {quoted(value)}"


def _count(which: str, number: int, noun: str, plural: str) -> str:
    return f"must have {which} {number} {noun if number == 1 else plural}"


def _too_long(context: Context, value: Any) -> str:
    return f"{_count('at most', context['max_length'], 'entry', 'entries')}, not {len(value)}"


def _string_too_short(context: Context, _value: Any) -> str:
    if context["min_length"] == 1:
        return "must not be empty"
    return _count("at least", context["min_length"], "character", "characters")


def _time(_context: Context, value: Any) -> str:
    if isinstance(value, str) and " " in value:
        # A + in a query means a space.
        return f"must be a time such as 2026-11-23T20:00:09Z, not {quoted(value)}; write + in a query as %2B"
    return f"must be a time such as 2026-11-23T20:00:09Z, or seconds since 1970, not {quoted(value)}"


WORDINGS: dict[str, Callable[[Context, Any], str]] = {
    "missing": lambda _context, _value: "is missing; add it",
    "value_error": lambda context, _value: str(context["error"]),
    "string_type": _must_be("a string"),
    "int_type": _must_be_number("a whole number"),
    "float_type": _must_be_number("a number"),
    "bool_type": _must_be_number("true or false"),
    "list_type": _must_be("a list"),
    "dict_type": _must_be("an object"),
    "model_type": _must_be("an object"),
    "model_attributes_type": _must_be("an object"),
    "int_parsing": _must_be_number("a whole number"),
    "int_parsing_size": _must_be_number("a smaller number"),
    "int_from_float": _must_be_number("a whole number"),
    "float_parsing": _must_be_number("a number"),
    "bool_parsing": _must_be_number("true or false"),
    "finite_number": lambda _context, _value: "must be a finite number",
    "greater_than": lambda context, value: f"must be greater than {context['gt']:g}, not {quoted(value)}",
    "greater_than_equal": lambda context, value: f"must be at least {context['ge']:g}, not {quoted(value)}",
    "less_than": lambda context, value: f"must be less than {context['lt']:.16g}, not {quoted(value)}",
    "less_than_equal": lambda context, value: f"must be at most {context['le']:.16g}, not {quoted(value)}",
    "literal_error": _one_of,
    "enum": _one_of,
    "too_short": lambda context, _value: _count("at least", context["min_length"], "entry", "entries"),
    "too_long": _too_long,
    "string_too_short": _string_too_short,
    "string_too_long": lambda context, _value: _count("at most", context["max_length"], "character", "characters"),
}
"""What to say for each type of error, given its context and the client's value."""

TYPES_OF_FORM = ("list_type", "dict_type", "model_type", "model_attributes_type")


def describe(kind: str, context: Context, value: Any, field: str | int | None) -> str:
    """Say what is wrong with a value.

    Args:
        kind: pydantic's type of the error.
        context: pydantic's details, such as the limit.
        value: what the client sent.
        field: the name of the field.
    """
    if kind.startswith(("datetime_", "timezone_")):
        return _time(context, value)
    if kind.startswith("date_"):
        return f"must be a day such as 2026-01-31, not {quoted(value)}"
    wording = WORDINGS.get(kind)
    if kind in TYPES_OF_FORM and (example := EXAMPLES.get(str(field))):
        said = f"must be {example}, not {type_name(value)}"
    elif wording:
        said = wording(context, value)
    else:
        said = f"must not be {quoted(value)}; see /docs for the field"
    if value is None and kind != "missing" and field not in REQUIRED:
        return f"{said}; leave the field out for its default"
    return said
