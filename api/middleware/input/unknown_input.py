"""Refuses query parameters and bodies that a route does not read.

A filter that is ignored lists everything: a clean-up script with ``?state=failed`` would delete the wrong jobs.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.errors.foreign_fields import snake_case
from api.errors.pointers import json_pointer
from api.errors.similar_names import similar_name
from api.middleware.input.json_body import JsonRequest
from api.middleware.input.json_limits import parse_json
from jobs.errors import Invalid, Problem

MAX_PROBLEMS = 20
MAX_PARSED_BYTES = 4_096
"""A longer body is refused without a look at its fields: nothing has limited their number yet."""
MAX_NAME = 64
"""Characters of an unknown name in a message."""
PATTERNS = "query_patterns"
"""Attribute of an endpoint: patterns of further parameters that it reads."""
READS_BODY = "reads_body"
"""Attribute of an endpoint that reads its body itself."""
EXAMPLES = {"metadata": "write metadata[name]=value", "state": "use status", "statuses": "use status"}
"""What to write instead of names that clients are known to send."""

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def reads_query(pattern: re.Pattern[str]) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint reads all query parameters whose names match a pattern; a decorator."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, PATTERNS, (*getattr(endpoint, PATTERNS, ()), pattern))
        return endpoint

    return mark


def reads_body(endpoint: Endpoint) -> Endpoint:
    """Declare that an endpoint reads its body itself; a decorator."""
    setattr(endpoint, READS_BODY, True)
    return endpoint


async def refuse_unknown_input(request: Request) -> None:
    """Raise Invalid for query parameters and bodies that the route does not read; a dependency of all routes."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    problems = _query_problems(route, request) if request.query_params else []
    reads = route.body_field is not None or getattr(route.endpoint, READS_BODY, False)
    if not reads and _has_body(request):
        # A JsonRequest's body() is a placeholder; read() has the bytes.
        problems += _body_problems(await (request.read() if isinstance(request, JsonRequest) else request.body()))
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])


def _query_problems(route: APIRoute, request: Request) -> list[Problem]:
    known, repeatable = _parameters(route)
    patterns = getattr(route.endpoint, PATTERNS, ())
    seen: set[str] = set()
    problems: list[Problem] = []
    for name, _ in request.query_params.multi_items():
        pointer = f"query:{name[:MAX_NAME]}"
        if name not in known and not any(pattern.fullmatch(name) for pattern in patterns):
            problems.append(Problem(pointer, _unknown(name, known), "unknown_field"))
        elif name in seen and name not in repeatable:
            problems.append(Problem(pointer, "is given more than once; send it once"))
        seen.add(name)
        if len(problems) == MAX_PROBLEMS:
            break
    return problems


def _parameters(route: APIRoute) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of a route's query parameters, and of those that may be repeated."""
    fields = list(_query_fields(route.dependant))
    repeatable = {field.alias for field in fields if "list[" in str(field.field_info.annotation)}
    return frozenset(field.alias for field in fields), frozenset(repeatable)


def _query_fields(dependant: Dependant) -> Iterator[ModelField]:
    """Yield the query parameters of an endpoint and of its dependencies."""
    yield from dependant.query_params
    for dependency in dependant.dependencies:
        yield from _query_fields(dependency)


def _unknown(name: str, known: frozenset[str]) -> str:
    if hint := EXAMPLES.get(name):
        return f"is not a parameter of this route: {hint}"
    if similar := similar_name(snake_case(name), known):
        return f"is not a parameter of this route; did you mean {similar}?"
    names = ", ".join(sorted(known))
    return "is not a parameter of this route; " + (f"it has {names}" if names else "it has none, remove it")


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _body_problems(body: bytes) -> list[Problem]:
    """Return the problems of a body that the route does not read. An empty object says nothing and is accepted."""
    if not body.strip():
        return []
    try:
        value = parse_json(body) if len(body) <= MAX_PARSED_BYTES else None
    except ValueError:
        value = None
    if value == {}:
        return []
    if isinstance(value, dict):
        return [
            Problem(
                json_pointer([name]), "is not a field of this call, which takes no body; remove it", "unknown_field"
            )
            for name in list(value)[:MAX_PROBLEMS]
        ]
    return [Problem("", "this call takes no body; send none", "unknown_field")]
