"""What a request may ask for: priorities of its API key, times and tokens of the installation and the model."""

from api.intake.conversation import raise_invalid
from api.intake.token_limits import TokenLimits, resolve_token_limits
from api.schemas.jobs import JobBody
from families import Family
from jobs.errors import Forbidden
from jobs.model.retention import DAY_MS
from jobs.tenants.api_key import ApiKey
from runtime.settings import Settings

DEFAULT_PRIORITY = "default"
MIN_OVERHEAD_TOKENS = 16
"""At least as many tokens of the context go to the shortest prompt's text and role markers and to the closing of the
thinking. The generate worker counts exactly; this bound refuses what certainly fails."""


class RequestLimits:
    """Checks the fields of a request against the limits of the installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check_times(self, body: JobBody) -> None:
        """Raise Invalid when the job should be kept longer than the service keeps jobs."""
        longest_s = self._settings.retention_days * DAY_MS // 1000
        if body.retention_seconds is not None and body.retention_seconds > longest_s:
            raise_invalid("/retention_seconds", f"is {body.retention_seconds}; the limit is {longest_s} seconds")

    def check_tokens(self, body: JobBody) -> None:
        """Raise Invalid when the thinking and the answer, with their defaults, leave no room for a prompt."""
        family = self._settings.family
        limits = token_limits(body, family)
        answer, budget, reserved = limits.max_answer_tokens, limits.thinking_budget, limits.reserved
        most = family.context_tokens - MIN_OVERHEAD_TOKENS
        if reserved <= most:
            return
        if limits.max_total_tokens is not None:
            raise_invalid(
                "/max_total_tokens",
                f"leaves no room for a prompt: thinking and answer may have {reserved} tokens with a total of "
                f"{limits.max_total_tokens}, and the model's context has {family.context_tokens}; send at most {most}",
            )
        answer_limit = f"max_answer_tokens ({answer}{'' if body.max_answer_tokens else ', the default'})"
        if budget <= 0 or answer > most:
            raise_invalid(
                "/max_answer_tokens",
                f"leaves no room for a prompt: the model's context has {family.context_tokens} tokens, and "
                f"{answer_limit} may be at most {max(most - max(budget, 0), 0)} here",
            )
        thinking = f"thinking.budget_tokens ({budget}{'' if body.thinking else ', the default'})"
        raise_invalid(
            "/max_answer_tokens" if body.max_answer_tokens else "/thinking/budget_tokens",
            f"leaves no room for a prompt: {thinking} and {answer_limit} are {reserved} tokens together, "
            f"{reserved - most} more than fit into the model's context of {family.context_tokens} beside the shortest "
            "prompt; lower one of them",
        )


def token_limits(body: JobBody, family: Family) -> TokenLimits:
    """Return the limits that a request asks for, with the model's defaults."""
    return resolve_token_limits(
        family,
        thinking_budget=body.thinking.budget_tokens if body.thinking else None,
        max_answer_tokens=body.max_answer_tokens,
        max_total_tokens=body.max_total_tokens,
    )


def permitted_priority(requested: str | None, caller: ApiKey) -> str:
    """Return the priority of a job.

    Args:
        requested: as the client sent it; None if it sent none. Then the job has the default priority, or the first one
            that the key permits.

    Raises:
        Forbidden: the key does not permit the requested priority.
    """
    if requested is None:
        return DEFAULT_PRIORITY if DEFAULT_PRIORITY in caller.priorities else caller.priorities[0]
    if requested not in caller.priorities:
        raise Forbidden(
            f"This API key does not permit priority {requested}; send one that it permits: "
            f"{', '.join(caller.priorities)}."
        )
    return requested
