"""Translates validation errors into problems with a field, a reason and a way out."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from fastapi.exceptions import RequestValidationError

from api.errors.foreign_fields import field_hint, part_hint, snake_case, value_hint
from api.errors.pointers import json_pointer, steps_in_body
from api.errors.similar_names import field_names, similar_name
from api.errors.wording import describe
from jobs.errors import Problem

MAX_PROBLEMS = 20
"""At most this many problems of one request are reported."""

CODES = {"extra_forbidden": "unknown_field", "missing": "missing"}
KEY = "[key]"
"""The last step of an error about the name of a pair in ``metadata``."""
UNKNOWN_PART = "unknown_part"
"""The error type of a content part whose type is unknown; see ``api.schemas.messages``."""


def validation_problems(error: RequestValidationError, body_type: Any = None) -> list[Problem]:
    """Return the first ``MAX_PROBLEMS`` problems, in the order of the body.

    Args:
        error: of FastAPI.
        body_type: the annotation of the route's body, which tells the names of its fields; None: it has no body.
    """
    return [_problem(detail, error.body, body_type) for detail in islice(error.errors(), MAX_PROBLEMS)]


def _problem(detail: dict[str, Any], body: Any, body_type: Any) -> Problem:
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
    return Problem(json_pointer(steps), _message(detail, steps, body_type), code)


def _message(detail: dict[str, Any], steps: Sequence[str | int], body_type: Any) -> str:
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return f"is not a field of this API{_way_out(steps[:-1], str(steps[-1]), body_type)}"
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


def _way_out(place: Sequence[str | int], name: str, body_type: Any) -> str:
    """Return what to do about an unknown field of the object at ``place``."""
    if hint := field_hint(place, name):
        return f": {hint}"
    written = snake_case(name)
    if similar := similar_name(written, field_names(body_type, place)):
        return f"; did you mean {similar}?"
    if written != name and len(name) <= len(written):
        return f"; names are written like {written}"
    return "; remove it"
