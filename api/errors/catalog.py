"""Every error that the API answers with, for its document and for docs/errors.md (``make docs``)."""

import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from api.errors.handlers import problem_body, status_of
from jobs.errors import (
    Cancelled,
    ClaimLost,
    Invalid,
    JobFailed,
    JournalGap,
    PresignedUrlExpired,
    Problem,
    RecordMissing,
    ThinkqueueError,
    Unavailable,
)
from jobs.model.failure_codes import FAILURES

INSIDE = (ThinkqueueError, Unavailable, JournalGap, PresignedUrlExpired, ClaimLost, RecordMissing, Cancelled, JobFailed)
"""Those that no client sees under this name."""

PLAIN = {
    HTTPStatus.BAD_REQUEST: ("invalid_json", "The body is not JSON: Expecting value (character 13)."),
    HTTPStatus.NOT_FOUND: ("not_found", "There is no /v1/job here; the routes are at /docs."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "PUT is not possible here; possible: GET, POST."),
    HTTPStatus.REQUEST_TIMEOUT: ("request_timeout", "The body did not come in within 60 s."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "request_entity_too_large",
        "The body is larger than 33554432 bytes; send large pictures as URLs.",
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "unsupported_media_type",
        "Content-Type is 'text/plain'; send application/json.",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("internal_error", "Something went wrong here; it was logged."),
}
"""Errors of HTTP itself."""

FIELD = Problem("/thinking/budget_tokens", "Input should be a valid integer")
FIELD_CODES = {
    "missing": "The field is needed; add it.",
    "unknown_field": "The service knows no such field; remove it.",
    "invalid_value": "The value is not possible; `message` says why.",
}


def _kinds(kind: type[ThinkqueueError] = ThinkqueueError) -> Iterator[type[ThinkqueueError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _codes() -> dict[HTTPStatus, dict[str, str]]:
    """Messages by code, by status."""
    found: dict[HTTPStatus, dict[str, str]] = {}
    for status, (code, message) in PLAIN.items():
        found.setdefault(status, {})[code] = message
    for kind in _kinds():
        if kind not in INSIDE:
            message = Invalid([FIELD]).message if kind is Invalid else str(kind.__doc__)
            found.setdefault(status_of(kind), {})[kind.code] = message
    return dict(sorted(found.items()))


def _example(status: HTTPStatus, code: str, message: str) -> dict[str, Any]:
    return {"value": problem_body(status, code, message, problems=[FIELD] if code == Invalid.code else [])}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    int(status): {
        "description": " · ".join(f"`{code}`" for code in codes),
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/ProblemReply"},
                "examples": {code: _example(status, code, message) for code, message in codes.items()},
            }
        },
    }
    for status, codes in _codes().items()
    if status not in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.INTERNAL_SERVER_ERROR)
}
"""For the document of each route."""


def page() -> str:
    """docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Made by `make docs` from `jobs/errors.py`, `jobs/model/failure_codes.py` and `api/errors/handlers.py`.",
        "",
        "## What the API answers",
        "",
        "Every error is `application/problem+json` (RFC 9457) with OpenAI's `error` object in it. `code` is for",
        "programs and stays; `detail` is for people. `errors` lists each fault of a 422 with its place: a JSON",
        "pointer into the body, or `query:name`, `path:name`, `header:name`. A 429 and a 503 carry `Retry-After`,",
        "at most 60 seconds; after a 503 nothing was accepted, and the same request may be sent again.",
        "",
        "| status | code | message |",
        "|---|---|---|",
    ]
    for status, codes in _codes().items():
        lines += [f"| {int(status)} | `{code}` | {message} |" for code, message in codes.items()]
    lines += ["", "Codes of single faults, in `errors[].code`:", "", "| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in FIELD_CODES.items()]
    lines += [
        "",
        "## Why a job ends without an answer",
        "",
        "`error.code` of a job that is `failed`, `cancelled` or `expired`, in polls, streams and webhooks.",
        "",
        "| code | what happened | what to do |",
        "|---|---|---|",
    ]
    lines += [f"| `{code}` | {what} | {way_out} |" for code, (what, way_out) in sorted(FAILURES.items())]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
