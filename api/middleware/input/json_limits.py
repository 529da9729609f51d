"""Limits the shape of a JSON body, before and after it is parsed.

Validation is expensive: pydantic builds an error of about 400 bytes for each invalid value. A body of 2 MB with a
million values took 1.7 GB and blocked the process for ten seconds. These limits bound what reaches pydantic.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from api.errors.pointers import json_pointer
from jobs.errors import Problem

MAX_VALUES = 20_000
"""Values and names of a body. A part of a message is five to eight of them."""
MAX_NUMBER_CHARACTERS = 1_000
MAX_FIELDS = 64
"""Fields of one object. The largest object of the API has 16."""
MAX_NAME_CHARACTERS = 256
MAX_DEPTH = 32
CHUNK_BYTES = 64 * 1024
"""Scanned at a time: between two chunks other threads can run."""

CONTAINERS = (dict, list)
LONG_NUMBER = re.compile(rb"[-+.0-9eE]{%d}" % (MAX_NUMBER_CHARACTERS + 1))


class JsonTooComplex(Exception):
    """The body exceeds a limit on its shape."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(pointer, message)


def check_text(body: bytes) -> None:
    """Count the values of a JSON text without parsing it. Raises JsonTooComplex.

    Commas, colons and opening brackets outside of strings are counted. A text that is no JSON may pass.
    """
    values = 0
    for text in _outside_of_strings(body):
        values += text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")
        if values > MAX_VALUES:
            raise JsonTooComplex(f"has more than {MAX_VALUES} JSON values; split it into several requests")
        if LONG_NUMBER.search(text):
            raise JsonTooComplex(f"has a number of more than {MAX_NUMBER_CHARACTERS} characters; shorten it")


def _outside_of_strings(body: bytes) -> Iterator[bytes]:
    """Yield what is outside of string literals, chunk by chunk."""
    is_inside, escape = 0, b""
    for start in range(0, len(body), CHUNK_BYTES):
        chunk = (escape + body[start : start + CHUNK_BYTES]).replace(rb"\\", b"")
        escape = b"\\" if chunk.endswith(b"\\") else b""
        pieces = chunk[: len(chunk) - len(escape)].replace(rb"\"", b"").split(b'"')
        yield b"".join(pieces[is_inside::2])
        is_inside ^= (len(pieces) - 1) & 1


def read_json(body: bytes) -> Any:
    """Parse a JSON text within all limits. Raises JsonTooComplex, or as ``parse_json``."""
    check_text(body)
    document = parse_json(body)
    if isinstance(document, list | dict):
        check_document(document)
    return document


def parse_json(body: bytes) -> Any:
    """Parse RFC 8259 JSON in UTF-8, with or without a byte order mark.

    Python's own parser accepts NaN, lone surrogates and UTF-16. Such values would fail later, where the field is no
    longer known. pydantic's parser refuses them, and also nesting deeper than 200 and integers of more than 4,300
    digits.

    Raises:
        JSONDecodeError: FastAPI turns no other error into a validation error. Its message has line and column.
    """
    try:
        return from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None


Place = tuple[Any, str | int] | None
"""Where a value is: the place of its parent, and its name there. Made into a pointer only for an error."""


def check_document(document: Any) -> None:
    """Check the objects of a parsed body. Raises JsonTooComplex."""
    waiting: list[tuple[Any, Place, int]] = [(document, None, 1)]
    while waiting:
        value, place, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise JsonTooComplex(f"is nested more than {MAX_DEPTH} levels deep", _pointer(place))
        if isinstance(value, dict):
            _check_names(value, place)
            inner: Any = value.items()
        else:
            inner = enumerate(value)
        waiting += [(item, (place, name), depth + 1) for name, item in inner if isinstance(item, CONTAINERS)]


def _check_names(fields: dict[str, Any], place: Place) -> None:
    if len(fields) > MAX_FIELDS:
        raise JsonTooComplex(f"has {len(fields)} fields; the limit is {MAX_FIELDS}", _pointer(place))
    if (longest := max(map(len, fields), default=0)) > MAX_NAME_CHARACTERS:
        raise JsonTooComplex(
            f"has a field whose name has {longest} characters; the limit is {MAX_NAME_CHARACTERS}", _pointer(place)
        )


def _pointer(place: Place) -> str:
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return json_pointer(steps[::-1])
