"""Stop strings and the form of the answer."""

from typing import Any

from api.errors.wording import quoted
from api.openai.request.fields import HONORED, IGNORED, Fields, FieldTable, invalid
from api.openai.request.origins import Origins

FORMAT_FIELDS: FieldTable = {"type": HONORED, "json_schema": HONORED}
"""Of ``response_format`` in chat completions."""
SCHEMA_FIELDS: FieldTable = {
    "schema": HONORED,
    "name": IGNORED,
    "description": IGNORED,
    "strict": IGNORED,  # a schema is always enforced
}
TEXT_FORMAT_FIELDS: FieldTable = {"type": HONORED, **SCHEMA_FIELDS}
"""Of ``text.format`` in responses."""
TYPES = ("text", "json_object", "json_schema")


def read_stop(fields: Fields, origins: Origins) -> dict[str, Any]:
    """Return the native ``stop`` of a request: a client sends a string or a list of strings."""
    stop = fields.get("stop")
    if not stop:
        return {}
    if not isinstance(stop, str | list):
        raise invalid(("stop",), f"must be a string or a list of strings, not {quoted(stop)}")
    origins.add("/stop", ("stop",))
    return {"stop": [stop] if isinstance(stop, str) else stop}


def read_response_format(fields: Fields, origins: Origins) -> dict[str, Any]:
    """Return the native ``response_format`` of a chat completion, whose schema is one level deeper.

    Raises:
        Invalid: the type is unknown, or a schema is missing. The schema itself is checked with the native request.
    """
    wanted = fields.nested("response_format", FORMAT_FIELDS)
    schema = wanted.nested("json_schema", SCHEMA_FIELDS)
    return _native_format(wanted, schema, origins)


def read_text_format(text: Fields, origins: Origins) -> dict[str, Any]:
    """Return the native ``response_format`` of a response, as ``read_response_format``.

    Args:
        text: the fields of the request's ``text``.
    """
    wanted = text.nested("format", TEXT_FORMAT_FIELDS)
    return _native_format(wanted, wanted, origins)


def _native_format(wanted: Fields, schema: Fields, origins: Origins) -> dict[str, Any]:
    kind = wanted.read("type", lambda value: value in TYPES, "one of " + ", ".join(f'"{one}"' for one in TYPES))
    if (kind is None and not wanted.values) or kind == "text":
        return {}
    if kind is None:
        raise invalid((*wanted.at, "type"), "is missing; add one of " + ", ".join(f'"{one}"' for one in TYPES))
    origins.add("/response_format", wanted.at)
    if kind == "json_object":
        return {"response_format": {"type": kind}}
    found = schema.read("schema", lambda value: isinstance(value, dict), "a JSON Schema")
    if found is None:
        raise invalid((*schema.at, "schema"), 'is missing; "type": "json_schema" needs a JSON Schema')
    origins.add("/response_format/schema", (*schema.at, "schema"))
    return {"response_format": {"type": kind, "schema": found}}
