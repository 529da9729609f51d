"""The limits on the shape of a body, and what they bound."""

import importlib
import json
import pkgutil
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import FailFast, TypeAdapter

import api.schemas
from api.middleware.input.json_body import parse_and_validate
from api.middleware.input.json_limits import (
    CHUNK_BYTES,
    MAX_FIELDS,
    MAX_NAME_CHARACTERS,
    MAX_VALUES,
    JsonTooComplex,
    check_document,
    check_text,
    parse_json,
)
from api.schemas.base import RequestBody
from api.schemas.jobs import JobBody
from jobs.errors import Invalid

TEXTS = st.text(alphabet='"\\,:[]{}aé\n', max_size=40)
DOCUMENTS = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


class Field:
    """A FastAPI field, as far as the validation of bodies uses it."""

    def validate(self, value: Any, _values: Any, *, loc: tuple[str]) -> tuple[Any, list[Any]]:
        return TypeAdapter(JobBody).validate_python(value), []


def count(document: Any) -> int:
    """Count as the limit does: commas, colons and opening brackets."""
    if isinstance(document, dict):
        return 1 + 2 * len(document) - bool(document) + sum(map(count, document.values()))
    if isinstance(document, list):
        return 1 + len(document) - bool(document) + sum(map(count, document))
    return 0


@settings(max_examples=30, deadline=None)
@given(DOCUMENTS, st.integers(0, 40))
def test_what_strings_contain_does_not_count(document: Any, padding: int) -> None:
    """The padding moves quotes and escapes across the borders of the scanned chunks."""
    filler = "\\" * padding + '"' * padding
    wide = [filler + "x" * (CHUNK_BYTES - 20 - 4 * padding), document, [0] * (MAX_VALUES - 4)]
    body = json.dumps(wide, ensure_ascii=False).encode()
    if count(wide) > MAX_VALUES:
        with pytest.raises(JsonTooComplex):
            check_text(body)
    else:
        check_text(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages": [' + b",".join([b"{}"] * MAX_VALUES) + b"]}",
        b"[" + b",".join([b"1"] * (MAX_VALUES + 2)) + b"]",
        b"{" + b",".join(b'"%d":1' % number for number in range(MAX_VALUES)) + b"}",
        b"{" + b",".join([b'"same":1'] * MAX_VALUES) + b"}",
        b"[" * (MAX_VALUES + 1),
        b'["' + rb"\"" * CHUNK_BYTES + b'"' + b",1" * (MAX_VALUES + 1) + b"]",
        b"[" + b"9" * 1_001 + b"]",
        b"[0." + b"1" * 2_000_000 + b"]",
    ],
    ids=["parts", "numbers", "fields", "repeated fields", "brackets", "after escapes", "digits", "decimals"],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(JsonTooComplex):
        check_text(body)


@pytest.mark.parametrize(
    ("document", "pointer", "message"),
    [
        ({"a": [{}, {str(number): 1 for number in range(MAX_FIELDS + 1)}]}, "/a/1", "has 65 fields"),
        ({"a/b": {"n" * (MAX_NAME_CHARACTERS + 1): 1}}, "/a~1b", "name has 257 characters"),
        (json.loads("[" * 40 + "]" * 40), "/0" * 32, "nested"),
    ],
)
def test_a_refusal_says_where_the_body_is_too_complex(document: Any, pointer: str, message: str) -> None:
    with pytest.raises(JsonTooComplex, match=message) as caught:
        check_document(document)
    assert caught.value.problem.pointer == pointer


def test_large_texts_and_media_are_no_values() -> None:
    text = json.dumps({"a": "Hello, {world}: [x]. " * 50_000, "b": "QUJD" * 500_000, "c": '\\",' * 50_000}).encode()
    check_text(text)
    check_document(parse_json(text))


def test_a_body_that_is_too_complex_is_an_invalid_request() -> None:
    with pytest.raises(Invalid, match="more than 20000 JSON values"):
        parse_and_validate(b"[" * 30_000, Field())


def lists_of(annotation: Any) -> list[tuple[Any, ...]]:
    """Return the metadata of each annotated list in a field's type."""
    found = []
    if hasattr(annotation, "__metadata__") and get_origin(get_args(annotation)[0]) is list:
        found.append(annotation.__metadata__)
    elif get_origin(annotation) is list:
        found.append(())
    return found + [item for argument in get_args(annotation) for item in lists_of(argument)]


def test_every_list_of_a_request_ends_its_validation_at_the_first_error() -> None:
    """pydantic checks a list's length after its items: a list of a million wrong ones would make a million errors."""
    for module in pkgutil.iter_modules(api.schemas.__path__):
        importlib.import_module(f"api.schemas.{module.name}")
    checked = 0
    for model in RequestBody.__subclasses__():
        for name, field in model.model_fields.items():
            own = [tuple(field.metadata)] if get_origin(field.annotation) is list else lists_of(field.annotation)
            for metadata in own:
                assert any(isinstance(item, FailFast) for item in metadata), f"{model.__name__}.{name}"
                checked += 1
    assert checked >= 4
