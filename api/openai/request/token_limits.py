"""Thinking budgets under every name that clients use, and one limit on thinking and answer together.

A client of a reasoning model sends one limit, such as ``max_completion_tokens``. It becomes the native
``max_total_tokens``, a part of which is kept for the answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from api.errors.pointers import Step
from api.errors.wording import quoted
from api.intake.limits import MIN_OVERHEAD_TOKENS
from api.openai.request.fields import HONORED, IGNORED, Fields, FieldTable, invalid
from families import Family

EFFORTS: dict[str, Fraction | None] = {
    "none": Fraction(0),
    "minimal": Fraction(1, 16),
    "low": Fraction(1, 4),
    "medium": Fraction(1, 2),
    "high": Fraction(1),
    "xhigh": Fraction(2),
    "max": None,
}
"""The share of the model's default budget that each effort has. None: no budget."""
NO_BUDGET = -1

LIMIT_FIELDS: FieldTable = dict.fromkeys(
    (
        "thinking",
        "thinking_token_budget",
        "thinking_budget_tokens",
        "thinking_budget",
        "enable_thinking",
        "chat_template_kwargs",
        "reasoning",
        "reasoning_effort",
        "max_output_tokens",
        "max_completion_tokens",
        "max_tokens",
    ),
    HONORED,
)
"""The fields that this module reads. The table of each route contains them."""
TOTALS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
BUDGETS = ("thinking_token_budget", "thinking_budget_tokens", "thinking_budget")
THINKING_FIELDS: FieldTable = {"type": HONORED, "budget_tokens": HONORED, "display": IGNORED}
TEMPLATE_FIELDS: FieldTable = {
    "enable_thinking": HONORED,
    "thinking": HONORED,
    "thinking_budget": HONORED,
    "add_generation_prompt": IGNORED,
}
REASONING_FIELDS: FieldTable = {
    "effort": HONORED,
    "max_tokens": HONORED,
    "enabled": HONORED,
    "summary": HONORED,
    "generate_summary": HONORED,
    "exclude": IGNORED,
    "context": IGNORED,
    "mode": IGNORED,
}


@dataclass(frozen=True)
class TokenLimits:
    """How many tokens a request may use."""

    thinking_budget: int | None
    """-1: no budget. None: the model's default."""
    total: int | None = None
    """Of thinking and answer, as the client sent it."""
    effort: str | None = None
    """As the client sent it."""
    unknown: tuple[str, ...] = ()
    """Names of unknown fields in the objects that were read."""
    sources: tuple[tuple[str, tuple[Step, ...]], ...] = ()
    """Native field and the client's field that determined it."""


@dataclass(frozen=True)
class _Budget:
    tokens: int
    source: tuple[Step, ...]
    is_explicit: bool
    """The client sent a number, not an effort."""


def read_token_limits(fields: Fields, family: Family) -> TokenLimits:
    """Read the budget and the total of a request.

    An explicit budget wins over an effort.

    Raises:
        Invalid: a value is not valid.
    """
    thinking = fields.nested("thinking", THINKING_FIELDS)
    template = fields.nested("chat_template_kwargs", TEMPLATE_FIELDS)
    reasoning = fields.nested("reasoning", REASONING_FIELDS)
    explicit = list(_explicit_budgets(fields, thinking, template, reasoning))
    total_source = _total_source(fields)
    total = fields.get(total_source) if total_source else None
    effort_source, effort = _effort(fields, reasoning)
    budget = explicit[0] if explicit else None
    if budget is None and effort is not None:
        budget = _Budget(_effort_budget(effort, family), effort_source, is_explicit=False)
    tokens = _thinking_budget(budget, family, has_total=total is not None)
    sources = [("/thinking/budget_tokens", budget.source)] if budget else []
    if total_source:
        sources.append(("/max_total_tokens", (total_source,)))
    unknown = (*thinking.unknown, *template.unknown, *reasoning.unknown)
    return TokenLimits(tokens, total, effort, unknown, tuple(sources))


def _thinking_budget(budget: _Budget | None, family: Family, *, has_total: bool) -> int | None:
    """Return the native thinking budget; a total lowers it further (``resolve_token_limits``)."""
    if budget is None or budget.is_explicit or has_total:
        return None if budget is None else budget.tokens
    return min(budget.tokens, family.context_tokens - MIN_OVERHEAD_TOKENS - family.max_answer_tokens)


def _explicit_budgets(fields: Fields, thinking: Fields, template: Fields, reasoning: Fields) -> Iterator[_Budget]:
    if (tokens := _budget(thinking, "budget_tokens")) is not None and thinking.get("type") != "disabled":
        yield _Budget(tokens, ("thinking", "budget_tokens"), is_explicit=True)
    kind = thinking.read("type", lambda value: value in ("enabled", "disabled", "adaptive"), _one_of_types())
    if kind == "disabled":
        yield _Budget(0, ("thinking", "type"), is_explicit=True)
    for name in BUDGETS:
        if (tokens := _budget(fields, name)) is not None:
            yield _Budget(tokens, (name,), is_explicit=True)
    if (tokens := _budget(template, "thinking_budget")) is not None:
        yield _Budget(tokens, ("chat_template_kwargs", "thinking_budget"), is_explicit=True)
    if (tokens := _budget(reasoning, "max_tokens")) is not None:
        yield _Budget(tokens, ("reasoning", "max_tokens"), is_explicit=True)
    switches = (
        (fields, "enable_thinking"),
        (template, "enable_thinking"),
        (template, "thinking"),
        (reasoning, "enabled"),
    )
    for place, name in switches:
        if place.read(name, lambda value: isinstance(value, bool), "true or false") is False:
            yield _Budget(0, (*place.at, name), is_explicit=True)


def _one_of_types() -> str:
    return '"enabled", "disabled" or "adaptive"'


def _budget(fields: Fields, name: str) -> int | None:
    def is_budget(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= NO_BUDGET

    found: int | None = fields.read(name, is_budget, "a whole number of tokens, 0 for no thinking, or -1 for no limit")
    return found


def _effort(fields: Fields, reasoning: Fields) -> tuple[tuple[Step, ...], str | None]:
    expected = "one of " + ", ".join(f'"{name}"' for name in EFFORTS)

    def is_effort(value: Any) -> bool:
        return isinstance(value, str) and value in EFFORTS

    for place, name in ((reasoning, "effort"), (fields, "reasoning_effort")):
        if (value := place.read(name, is_effort, expected)) is not None:
            return (*place.at, name), value
    return (), None


def _effort_budget(effort: str, family: Family) -> int:
    share = EFFORTS[effort]
    return NO_BUDGET if share is None else int(family.thinking_budget * share)


def _total_source(fields: Fields) -> str | None:
    """Return the name of the field with the smallest total."""
    for name in TOTALS:
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise invalid((name,), f"must be a whole number of tokens, at least 1, not {quoted(value)}")
    return min((name for name in TOTALS if fields.get(name) is not None), key=fields.get, default=None)
