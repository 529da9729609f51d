"""Sampling and service tier of a request."""

from typing import Any

from api.openai.request.fields import HONORED, Fields, FieldTable, invalid
from api.openai.request.origins import Origins

SAMPLING_FIELDS: FieldTable = dict.fromkeys(
    ("temperature", "top_p", "top_k", "seed", "repetition_penalty", "service_tier", "skip_special_tokens"), HONORED
)
"""The fields that this module reads. The table of each route contains them."""
NATIVE_NAMES = ("temperature", "top_p", "top_k", "seed", "repetition_penalty")
NO_TOP_K = -1
"""How vLLM writes no limit."""
SEEDS = 2**53
PRIORITY_OF_TIER = {
    "flex": "low",
    "default": None,
    "auto": None,
    "priority": "high",
    "scale": "high",
    "fast": "high",
    "ultrafast": "high",
}
"""None: the default of the API key."""
TIER_OF_PRIORITY = {"low": "flex", "default": "default", "high": "priority"}


def read_sampling(fields: Fields, origins: Origins) -> dict[str, Any]:
    """Return the native ``sampling``, ``priority`` and ``box_tokens`` of a request.

    Raises:
        Invalid: the service tier or skip_special_tokens is not valid. The rest is validated with the native request.
    """
    sampling = {name: fields.get(name) for name in NATIVE_NAMES if fields.get(name) is not None}
    for name in sampling:
        origins.add(f"/sampling/{name}", (name,))
    if sampling.get("top_k") == NO_TOP_K:
        sampling["top_k"] = 0
    seed = sampling.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool):
        sampling["seed"] = seed % SEEDS  # OpenAI's seeds have 64 bits and a sign
    native: dict[str, Any] = {"sampling": sampling} if sampling else {}
    if priority := _priority(fields):
        native["priority"] = priority
        origins.add("/priority", ("service_tier",))
    keeps_special = fields.read("skip_special_tokens", lambda value: isinstance(value, bool), "true or false") is False
    if keeps_special:
        native["box_tokens"] = "keep"
    return native


def service_tier(priority: str) -> str:
    """Return the service tier of a job's priority."""
    return TIER_OF_PRIORITY[priority]


def _priority(fields: Fields) -> str | None:
    tier = fields.get("service_tier")
    if tier is None:
        return None
    if not isinstance(tier, str) or tier not in PRIORITY_OF_TIER:
        raise invalid(("service_tier",), "must be one of " + ", ".join(f'"{one}"' for one in PRIORITY_OF_TIER))
    return PRIORITY_OF_TIER[tier]
