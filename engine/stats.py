"""Counters and gauges of an engine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """State of the engine at one moment. Counters start at zero with the engine."""

    slots: int
    """Sequences that can run at the same time."""
    running: int
    waiting: int
    """Sequences that have no turn, those that pause included."""
    kv_tokens: int
    """Tokens that the KV cache holds when it is full."""
    kv_free_tokens: int
    steps: int
    """Steps that were launched."""
    busy_s: float
    """Time during which at least one step was in flight, in seconds."""
    sampled_tokens: int
    """Tokens sampled from the model; forced tokens do not count."""
    prefill_tokens: int
    """Tokens of prompts and journals that prefill passes computed."""
    num_preemptions: int
    """Sequences that lost their KV cache blocks to older ones and had to be computed again."""
    prefix_cache_queries: int
    """Tokens of prompts and journals of the sequences that got a slot."""
    prefix_cache_hits: int
    """Those of them that were in the prefix cache, and were not computed again."""
    encoded_media: int
    """Images and videos that the vision encoder processed; cache hits do not count."""
