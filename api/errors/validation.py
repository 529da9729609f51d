"""What is wrong with a request, in this service's words: from pydantic's errors to fields and ways out."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from jobs.errors import Problem

MOST = 20
"""Faults told of one request."""

ADVICE = {
    "missing": "is missing; add it",
    "extra_forbidden": "is not a field that this service knows; remove it",
}
"""Where pydantic's wording does not say what to do."""


def pointer(location: Sequence[str | int]) -> str:
    """A pydantic location as a JSON pointer; union tags, written ``<tag>``, are no part of the body."""
    steps = (str(step) for step in location if not (isinstance(step, str) and step.startswith("<")))
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def problems_of(error: RequestValidationError) -> list[Problem]:
    """In the order of the body; ``MOST`` at most."""
    return [_problem(fault) for fault in list(error.errors())[:MOST]]


def _problem(fault: dict[str, Any]) -> Problem:
    where, kind = fault["loc"], fault["type"]
    if kind == "json_invalid":
        reason, place = fault["ctx"]["error"], f" (character {where[-1]})" if where[-1] else ""
        return Problem("", f"The body is not JSON: {reason}{place}.", "invalid_json")
    if where == ("body",) and kind == "missing":
        return Problem("", "the body is missing; send a JSON object", "missing")
    text = ADVICE.get(kind) or str(fault["msg"]).removeprefix("Value error, ")
    code = {"extra_forbidden": "unknown_field", "missing": "missing"}.get(kind, "invalid_value")
    # A query field that takes a list has the number of its item behind its name.
    return Problem(pointer(where[1:]) if where[0] == "body" else f"{where[0]}:{where[1]}", text, code)
