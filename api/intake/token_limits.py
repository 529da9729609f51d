"""How a request's tokens are divided between thinking and answer."""

from dataclasses import dataclass

from families import Family

MIN_ANSWER_SHARE, MIN_ANSWER_TOKENS = 4, 16
"""A quarter of a total is kept for the answer, at least 16 tokens, and no more than the answer may have."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The limits of a job, with the defaults of its model."""

    thinking_budget: int
    """-1: no limit, 0: no thinking. With a total it leaves a part of it for the answer."""
    max_answer_tokens: int
    """With a total: what is left of it for the answer if the thinking uses its whole budget."""
    max_total_tokens: int | None = None
    """Of thinking and answer. None: no such limit."""
    max_answer_of_total: int | None = None
    """With a total: the answer's own limit, if the client sent one."""

    @property
    def reserved(self) -> int:
        """Tokens that are kept free for thinking and answer; a thinking without limit takes what is left."""
        return max(self.thinking_budget, 0) + self.max_answer_tokens


def resolve_token_limits(
    family: Family, *, thinking_budget: int | None, max_answer_tokens: int | None, max_total_tokens: int | None
) -> TokenLimits:
    """Return the limits of a job.

    Args:
        family: has the defaults of the model.
        thinking_budget, max_answer_tokens, max_total_tokens: as the client sent them.
    """
    budget = family.thinking_budget if thinking_budget is None else thinking_budget
    if max_total_tokens is None:
        return TokenLimits(budget, max_answer_tokens or family.max_answer_tokens)
    total, own = max_total_tokens, max_answer_tokens
    reserve = min(own or family.max_answer_tokens, max(total // MIN_ANSWER_SHARE, MIN_ANSWER_TOKENS))
    most = max(0, total - reserve)
    budget = most if budget < 0 else min(budget, most)
    return TokenLimits(budget, min(own or total, total - budget), total, own)
