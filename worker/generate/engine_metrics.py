"""Metrics of a generate worker's engine and of the jobs that it generated."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine import EngineStats, device_memory
from jobs.model.documents.result import JobResult
from runtime.telemetry import metrics


class EngineCollector(Collector):
    """Reads the engine at each scrape."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        self._stats = stats

    def describe(self) -> list[Metric]:
        """Return nothing: registration must not read the engine."""
        return []

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        value: float
        for name, text, value in (
            ("slots", "Jobs that the engine runs at once.", stats.slots),
            ("running", "Jobs in the running batch.", stats.running),
            ("waiting", "Jobs that wait for a place in the batch.", stats.waiting),
            ("kv_tokens", "Capacity of the KV cache in tokens.", stats.kv_tokens),
            (
                "kv_free_tokens",
                "Tokens of the KV cache that no job uses.",
                stats.kv_free_tokens,
            ),
        ):
            yield GaugeMetricFamily(f"thinkqueue_engine_{name}", text, value=value)
        for name, text, value in (
            ("steps", "Forward passes.", stats.steps),
            ("busy_seconds", "Time during which the device had a step to compute.", stats.busy_s),
            ("sampled_tokens", "Tokens sampled.", stats.sampled_tokens),
            ("prefill_tokens", "Tokens of prompts and journals that were prefilled.", stats.prefill_tokens),
            (
                "preemptions",
                "Times that a job was preempted, because the KV cache was full or another tenant had fewer slots.",
                stats.num_preemptions,
            ),
            (
                "prefix_cache_queries",
                "Tokens of prompts and journals that were looked up in the prefix cache.",
                stats.prefix_cache_queries,
            ),
            (
                "prefix_cache_hits",
                "Tokens of prompts and journals that were in the prefix cache.",
                stats.prefix_cache_hits,
            ),
            ("encoded_media", "Images and videos encoded.", stats.encoded_media),
        ):
            yield CounterMetricFamily(f"thinkqueue_engine_{name}", text, value=value)
        if memory := device_memory():
            family = GaugeMetricFamily("thinkqueue_gpu_memory_bytes", "Memory of the GPU.", labels=["state"])
            family.add_metric(["free"], memory[0])
            family.add_metric(["total"], memory[1])
            yield family


def register_engine_metrics(stats: Callable[[], EngineStats]) -> None:
    """Serve the engine's metrics on this process's probe server."""
    REGISTRY.register(EngineCollector(stats))


class TokenTimes:
    """Measures the time from the creation of this object until a job's first token, and that of later tokens."""

    def __init__(self) -> None:
        self._created = time.monotonic()
        self._first: float | None = None
        self._last = 0.0
        self._later_tokens = 0

    def record(self, tokens: int) -> None:
        """Record that this many tokens have arrived together."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
            metrics.FIRST_TOKEN_SECONDS.observe(now - self._created)
        else:
            self._later_tokens += tokens
        self._last = now

    def end(self) -> None:
        """Observe the mean time per token after the first ones. Call it once, when no more tokens arrive."""
        if self._first is not None and self._later_tokens:
            metrics.OUTPUT_TOKEN_SECONDS.observe((self._last - self._first) / self._later_tokens)


def observe_generation(result: JobResult) -> None:
    """Observe a job that this worker generated."""
    for phase in ("prepared", "queued", "prefill", "decode"):
        metrics.PHASE_SECONDS.labels(phase).observe(result.timings.get(f"{phase}_ms", 0) / 1000)
    metrics.THINKING_TOKENS.observe(result.usage.get("thinking_tokens", 0))
    if result.thinking_truncated:
        metrics.CUTOFFS.labels(result.truncation_reason or "unknown").inc()
