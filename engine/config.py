"""How much an engine takes on at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """None: what fits the device (see residence.py)."""

    slots: int | None = None
    """Sequences that run at once."""
    kv_gib: float | None = None
    """Memory of the KV cache."""
    chunk_tokens: int | None = None
    """Prompt tokens that one step reads."""
    vision_cache_mib: int | None = None
    """What was seen of the last pictures and videos."""
