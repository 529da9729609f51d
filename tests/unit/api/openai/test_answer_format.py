from typing import Any

import pytest

from api.openai.request.answer_format import read_response_format, read_stop, read_text_format
from api.openai.request.fields import HONORED, FieldTable, read_fields
from api.openai.request.origins import Origins
from jobs.errors import Invalid, Problem

TABLE: FieldTable = {"response_format": HONORED, "text": HONORED, "stop": HONORED}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
NATIVE = {"response_format": {"type": "json_schema", "schema": SCHEMA}}


def chat(body: dict[str, Any]) -> dict[str, Any]:
    return read_response_format(read_fields(body, TABLE), Origins(body))


def responses(body: dict[str, Any]) -> dict[str, Any]:
    text = read_fields(body, TABLE).nested("text", {"format": HONORED})
    return read_text_format(text, Origins(body))


def test_both_surfaces_have_the_native_format() -> None:
    named = {"name": "number", "strict": True, "schema": SCHEMA}
    assert chat({"response_format": {"type": "json_schema", "json_schema": named}}) == NATIVE
    assert responses({"text": {"format": {"type": "json_schema", **named}}}) == NATIVE
    assert chat({"response_format": {"type": "json_object"}}) == {"response_format": {"type": "json_object"}}
    assert responses({"text": {"format": {"type": "json_object"}}}) == {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize("body", [{}, {"response_format": None}, {"response_format": {"type": "text"}}])
def test_text_is_the_default(body: dict[str, Any]) -> None:
    assert chat(body) == {}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"response_format": "json"}, "/response_format"),
        ({"response_format": {"type": "grammar"}}, "/response_format/type"),
        ({"response_format": {"json_schema": {"schema": SCHEMA}}}, "/response_format/type"),
        ({"response_format": {"type": "json_schema"}}, "/response_format/json_schema/schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}},
            "/response_format/json_schema/schema",
        ),
    ],
)
def test_a_bad_format_is_refused_by_name(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        chat(body)
    assert [problem.pointer for problem in error.value.problems] == [pointer]


def test_problems_of_the_schema_name_the_place_in_the_clients_body() -> None:
    body = {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}
    origins = Origins(body)
    read_response_format(read_fields(body, TABLE), origins)
    found = origins.translate(Invalid([Problem("/response_format/schema", "is bad")]))
    assert [problem.pointer for problem in found.problems] == ["/response_format/json_schema/schema"]


@pytest.mark.parametrize(
    ("stop", "native"), [("a", {"stop": ["a"]}), (["a", "b"], {"stop": ["a", "b"]}), ([], {}), ("", {}), (None, {})]
)
def test_a_stop_is_a_string_or_a_list(stop: Any, native: dict[str, Any]) -> None:
    body = {"stop": stop}
    assert read_stop(read_fields(body, TABLE), Origins(body)) == native


def test_a_stop_of_another_type_is_refused() -> None:
    with pytest.raises(Invalid):
        read_stop(read_fields({"stop": 3}, TABLE), Origins({}))
