from typing import Any

import pytest

from api.openai.chat.request import CHAT_FIELDS
from api.openai.request.fields import read_fields
from api.openai.request.forced_function import (
    IN_CHAT,
    IN_RESPONSES,
    NO_PARAMETERS,
    ForcedFunction,
    read_forced_function,
)
from api.openai.request.origins import Origins
from api.openai.responses.request.read import RESPONSE_FIELDS
from jobs.errors import Invalid

PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}}
COUNT = {"type": "function", "function": {"name": "count", "parameters": PARAMETERS}}
OTHER = {"type": "function", "function": {"name": "other"}}
FORCE_NONE = {"type": "function", "function": {"name": "x"}}
FORCE_COUNT = {"type": "function", "function": {"name": "count"}}


def forced(**body: Any) -> ForcedFunction | None:
    return read_forced_function(read_fields(body, CHAT_FIELDS), inside=IN_CHAT)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [COUNT], "tool_choice": FORCE_COUNT},
        {"tools": [OTHER, COUNT], "tool_choice": FORCE_COUNT},
        {"tools": [COUNT], "tool_choice": "required"},
    ],
)
def test_one_function_can_be_forced(body: dict[str, Any]) -> None:
    found = forced(**body)
    assert found is not None
    assert (found.name, found.parameters) == ("count", PARAMETERS)
    assert found.native(Origins(body)) == {"response_format": {"type": "json_schema", "schema": PARAMETERS}}


def test_a_function_without_parameters_has_an_empty_object() -> None:
    found = forced(tools=[OTHER], tool_choice="required")
    assert found is not None
    assert found.parameters == NO_PARAMETERS


@pytest.mark.parametrize(
    "body",
    [{}, {"tools": []}, {"tools": None, "tool_choice": "auto"}, {"tools": [COUNT], "tool_choice": "none"}],
)
def test_no_call_is_the_default(body: dict[str, Any]) -> None:
    assert forced(**body) is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tools": [COUNT]}, "/tools"),
        ({"tools": [COUNT], "tool_choice": "auto"}, "/tools"),
        ({"tools": [COUNT, OTHER], "tool_choice": "required"}, "/tools"),
        ({"tool_choice": "required"}, "/tool_choice"),
        ({"tools": {}, "tool_choice": "required"}, "/tools"),
        (
            {"tools": [COUNT], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "/tool_choice/function/name",
        ),
        ({"tools": [COUNT], "tool_choice": {"type": "function"}}, "/tool_choice/function/name"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "/tools/0/type"),
        ({"tools": [{"type": "function"}], "tool_choice": "required"}, "/tools/0/function/name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": 1}}], "tool_choice": "required"},
            "/tools/0/function/parameters",
        ),
    ],
)
def test_other_tools_are_refused_by_name(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        forced(**body)
    assert [problem.pointer for problem in error.value.problems] == [pointer]


def forced_in_response(**body: Any) -> ForcedFunction | None:
    return read_forced_function(read_fields(body, RESPONSE_FIELDS), inside=IN_RESPONSES)


def test_a_response_has_the_name_and_the_parameters_in_the_tool_itself() -> None:
    tool = {"type": "function", "name": "count", "parameters": PARAMETERS, "strict": True}
    for choice in ({"type": "function", "name": "count"}, "required"):
        found = forced_in_response(tools=[tool], tool_choice=choice)
        assert found is not None
        assert (found.name, found.parameters) == ("count", PARAMETERS)
        assert found.at == ("tools", 0, "parameters")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tools": [COUNT], "tool_choice": "required"}, "/tools/0/name"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": 1}], "tool_choice": "required"},
            "/tools/0/parameters",
        ),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function"}}, "/tool_choice/name"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "/tools/0/type"),
        ({"tools": [{"type": "function", "name": "f"}]}, "/tools"),
    ],
)
def test_other_tools_of_a_response_are_refused_by_name(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        forced_in_response(**body)
    assert [problem.pointer for problem in error.value.problems] == [pointer]
