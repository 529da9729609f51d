"""Translates validation errors into problems with a field, a reason and a way out."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from fastapi.exceptions import RequestValidationError

from api.errors.foreign_fields import field_hint, part_hint, snake_case, value_hint
from api.errors.pointers import json_pointer, steps_in_body
from api.errors.wording import describe
from jobs.errors import Problem

MAX_PROBLEMS = 20
"""At most this many problems of one request are reported."""

CODES = {"extra_forbidden": "unknown_field", "missing": "missing"}
KEY = "[key]"
"""The last step of an error about the name of a pair in ``metadata``."""
UNKNOWN_PART = "unknown_part"
"""The error type of a content part whose type is unknown; see ``api.schemas.messages``."""


def validation_problems(error: RequestValidationError) -> list[Problem]:
    """Return the first ``MAX_PROBLEMS`` problems, in the order of the body."""
    return [_problem(detail, error.body) for detail in islice(error.errors(), MAX_PROBLEMS)]


def _problem(detail: dict[str, Any], body: Any) -> Problem:
    location, kind = detail["loc"], detail["type"]
    if kind == "json_invalid":
        return Problem("", f"The body is not valid JSON: {detail['ctx']['error']}.", "invalid_json")
    if location == ("body",) and kind == "missing":
        return Problem("", "is missing; send a JSON object", "missing")
    code = CODES.get(kind, "invalid_value")
    if location[0] != "body":
        # The location of a list in the query ends with the index of the item; only the parameter's name is reported.
        value = detail.get("input")
        said = describe(kind, detail.get("ctx", {}), value, location[1])
        if kind == "literal_error" and isinstance(value, str) and "," in value:
            said = f"{said}; repeat the parameter for several values"
        return Problem(f"{location[0]}:{location[1]}", said, code)
    steps = steps_in_body(location[1:], body)
    return Problem(json_pointer(steps), _message(detail, steps), code)


def _message(detail: dict[str, Any], steps: Sequence[str | int]) -> str:
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        name = str(steps[-1])
        if hint := field_hint(steps[:-1], name):
            return f"is not a field of this API: {hint}"
        if snake_case(name) != name:
            return f"is not a field of this API; names are written like {snake_case(name)}"
        return "is not a field of this API; remove it"
    if kind == UNKNOWN_PART:
        said, hint = detail["msg"], part_hint(value)
    elif not steps:
        said, hint = describe(kind, detail.get("ctx", {}), value, None), ""
    else:
        said = describe(kind, detail.get("ctx", {}), value, steps[-1])
        if detail["loc"][-1] == KEY:
            said = f"the name {said}"
        hint = value_hint(steps, value) if kind == "literal_error" else ""
    return f"{said}: {hint}" if hint else said
