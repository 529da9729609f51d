"""Translates pydantic's validation errors into problems with a field, a reason and a way out."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from jobs.errors import Problem

MAX_PROBLEMS = 20
"""At most this many problems of one request are reported."""

MESSAGES = {
    "missing": "is missing; add it",
    "extra_forbidden": "is not a field of this API; remove it",
}
"""Messages for error types whose pydantic message does not say what to do."""


def json_pointer(location: Sequence[str | int]) -> str:
    """Convert a pydantic location to a JSON pointer (RFC 6901).

    Union tags are written ``<tag>`` (see ``api.schemas.messages``); they are not part of the body and are left out.
    """
    steps = (str(step) for step in location if not (isinstance(step, str) and step.startswith("<")))
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def validation_problems(error: RequestValidationError) -> list[Problem]:
    """Return the first ``MAX_PROBLEMS`` problems, in the order of the body."""
    return [_problem(detail) for detail in list(error.errors())[:MAX_PROBLEMS]]


def _problem(detail: dict[str, Any]) -> Problem:
    location, kind = detail["loc"], detail["type"]
    if kind == "json_invalid":
        return Problem("", f"The body is not valid JSON: {detail['ctx']['error']}.", "invalid_json")
    if location == ("body",) and kind == "missing":
        return Problem("", "the body is missing; send a JSON object", "missing")
    message = MESSAGES.get(kind) or str(detail["msg"]).removeprefix("Value error, ")
    code = {"extra_forbidden": "unknown_field", "missing": "missing"}.get(kind, "invalid_value")
    # The location of a list in the query ends with the index of the item; only the parameter's name is reported.
    pointer = json_pointer(location[1:]) if location[0] == "body" else f"{location[0]}:{location[1]}"
    return Problem(pointer, message, code)
