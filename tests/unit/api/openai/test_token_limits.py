from typing import Any

import pytest

from api.openai.request.fields import read_fields
from api.openai.request.token_limits import LIMIT_FIELDS, TokenLimits, read_token_limits
from families import FAMILIES
from jobs.errors import Invalid

GLM = FAMILIES["glm-4.1v-thinking"]
POCKET = FAMILIES["pocket"]


def limits(**body: Any) -> TokenLimits:
    return read_token_limits(read_fields(body, LIMIT_FIELDS), GLM)


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024),
        ({"thinking": {"budget_tokens": 7}}, 7),
        ({"thinking": {"type": "enabled"}}, None),
        ({"thinking": {"type": "disabled"}}, 0),
        ({"thinking": {"type": "disabled", "budget_tokens": 1024}}, 0),
        ({"thinking_token_budget": 33}, 33),
        ({"thinking_token_budget": -1}, -1),
        ({"thinking_budget_tokens": 44}, 44),
        ({"thinking_budget": 55}, 55),
        ({"chat_template_kwargs": {"enable_thinking": False}}, 0),
        ({"chat_template_kwargs": {"enable_thinking": True}}, None),
        ({"enable_thinking": False}, 0),
        ({"reasoning": {"max_tokens": 66}}, 66),
        ({"reasoning": {"enabled": False}}, 0),
        ({"reasoning": {"effort": "none"}}, 0),
        ({"reasoning": {"effort": "minimal"}}, 512),
        ({"reasoning": {"effort": "low"}}, 2048),
        ({"reasoning_effort": "medium"}, 4096),
        ({"reasoning_effort": "high"}, 8192),
        ({"reasoning_effort": "xhigh"}, 16384),
        ({"reasoning_effort": "max"}, -1),
        ({"reasoning_effort": None, "thinking": None}, None),
        ({"reasoning_effort": "low", "thinking": {"budget_tokens": 9}}, 9),
    ],
)
def test_the_budget_has_many_names(body: dict[str, Any], budget: int | None) -> None:
    found = limits(**body)
    assert (found.thinking_budget, found.total) == (budget, None)


@pytest.mark.parametrize("name", ["max_output_tokens", "max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, 0),
        ({"reasoning_effort": "max"}, -1),
        ({"thinking": {"budget_tokens": 5000}}, 5000),
    ],
)
def test_a_total_has_many_names(name: str, body: dict[str, Any], budget: int | None) -> None:
    found = limits(**{name: 1000, **body})
    assert (found.thinking_budget, found.total) == (budget, 1000)


def test_the_smallest_total_counts() -> None:
    assert limits(max_tokens=500, max_completion_tokens=300).total == 300


def test_a_budget_from_an_effort_leaves_room_for_a_prompt() -> None:
    fields = read_fields({"reasoning_effort": "xhigh"}, LIMIT_FIELDS)
    small = read_token_limits(fields, POCKET)
    assert small.thinking_budget == 512
    assert small.thinking_budget + POCKET.max_answer_tokens < POCKET.context_tokens


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"thinking": {"budget_tokens": "many"}}, "/thinking/budget_tokens"),
        ({"thinking": {"budget_tokens": -2}}, "/thinking/budget_tokens"),
        ({"thinking": {"type": "off"}}, "/thinking/type"),
        ({"thinking": True}, "/thinking"),
        ({"thinking_token_budget": 1.5}, "/thinking_token_budget"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "/chat_template_kwargs/enable_thinking"),
        ({"reasoning": {"effort": "huge"}}, "/reasoning/effort"),
        ({"reasoning_effort": 3}, "/reasoning_effort"),
        ({"max_tokens": 0}, "/max_tokens"),
        ({"max_completion_tokens": True}, "/max_completion_tokens"),
    ],
)
def test_a_bad_value_is_refused_by_name(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        limits(**body)
    assert [problem.pointer for problem in error.value.problems] == [pointer]


def test_unknown_fields_inside_are_named() -> None:
    assert limits(chat_template_kwargs={"enable_thinking": True, "tone": 1}).unknown == ("chat_template_kwargs.tone",)
