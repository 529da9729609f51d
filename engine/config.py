"""Limits of an engine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of an engine. ``None`` means what fits the device (see ``loading/allocate.py``)."""

    slots: int | None = None
    """Sequences that run at the same time."""
    kv_cache_gib: float | None = None
    """Size of the KV cache."""
    max_prefill_tokens: int | None = None
    """Prompt tokens that one step computes at most."""
    prefix_cache: bool = True
    """Keep the KV cache of tokens that were computed, for requests of the same group that begin with them."""
    encoder_cache_mib: int | None = None
    """Size of the cache of vision encoder outputs."""
