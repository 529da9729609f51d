"""A total over thinking and answer leaves an answer, and a worker that does not know totals keeps it, too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.intake.token_limits import TokenLimits, resolve_token_limits
from families import FAMILIES

GLM = FAMILIES["glm-4.1v-thinking"]


def limits(budget: int | None = None, answer: int | None = None, total: int | None = None) -> TokenLimits:
    return resolve_token_limits(GLM, thinking_budget=budget, max_answer_tokens=answer, max_total_tokens=total)


def test_without_a_total_the_defaults_of_the_model_apply() -> None:
    assert limits() == TokenLimits(GLM.thinking_budget, GLM.max_answer_tokens)
    assert limits(-1, 5) == TokenLimits(-1, 5)


@pytest.mark.parametrize(
    ("budget", "answer", "total", "expected"),
    [
        (None, None, 1_000, (750, 250)),
        (-1, None, 1_000, (750, 250)),
        (100, None, 1_000, (100, 900)),
        (None, None, 20_000, (8_192, 11_808)),  # a quarter of 20,000 is more than the default answer limit
        (-1, None, 20_000, (20_000 - 2_048, 2_048)),
        (None, 50, 1_000, (950, 50)),
        (0, None, 40, (0, 40)),
        (None, None, 40, (24, 16)),
        (None, None, 16, (0, 16)),
        (None, None, 1, (0, 1)),
    ],
)
def test_a_total_keeps_a_part_for_the_answer(
    budget: int | None, answer: int | None, total: int, expected: tuple[int, int]
) -> None:
    found = limits(budget, answer, total)
    assert (found.thinking_budget, found.max_answer_tokens) == expected
    assert (found.max_total_tokens, found.max_answer_of_total) == (total, answer)


@given(
    budget=st.none() | st.integers(-1, 70_000),
    answer=st.none() | st.integers(1, 70_000),
    total=st.integers(1, 70_000),
)
def test_the_two_limits_never_exceed_the_total(budget: int | None, answer: int | None, total: int) -> None:
    found = limits(budget, answer, total)
    assert found.thinking_budget >= 0
    assert found.max_answer_tokens >= 1
    assert found.reserved <= total
