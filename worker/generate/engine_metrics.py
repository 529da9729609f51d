"""What a generate worker tells of its engine and of the jobs that it generated."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine import EngineStats, device_memory
from jobs.model.result import JobResult
from runtime import metrics


class EngineCollector(Collector):
    """The engine at the time of the question."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        self._stats = stats

    def describe(self) -> list[Metric]:
        """Asked at registration, when nothing is to be read yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        for name, text, value in (
            ("slots", "Jobs that fit into a batch.", stats.slots),
            ("running", "Jobs in the batch.", stats.running),
            ("waiting", "Jobs that wait for room in it.", stats.waiting),
            ("kv_tokens", "Tokens that the KV cache holds.", stats.kv_tokens),
            ("kv_free_tokens", "Of them free.", stats.kv_free_tokens),
        ):
            yield GaugeMetricFamily(f"thinkqueue_engine_{name}", text, value=value)
        for name, text, value in (
            ("steps", "Forward passes.", stats.steps),
            ("sampled_tokens", "Tokens that were sampled.", stats.sampled_tokens),
            ("prefill_tokens", "Tokens of prompts and journals that were read.", stats.prefill_tokens),
            ("preemptions", "Jobs that left the batch for want of KV room, and came back.", stats.num_preemptions),
            ("vision_passes", "Pictures' ways through the vision tower.", stats.encoded_media),
        ):
            yield CounterMetricFamily(f"thinkqueue_engine_{name}", text, value=value)
        if memory := device_memory():
            family = GaugeMetricFamily("thinkqueue_gpu_memory_bytes", "Of the device.", labels=["state"])
            family.add_metric(["free"], memory[0])
            family.add_metric(["total"], memory[1])
            yield family


def register_engine_metrics(stats: Callable[[], EngineStats]) -> None:
    REGISTRY.register(EngineCollector(stats))


class TimeToFirstToken:
    """How long a job waits for its first token, from here on."""

    def __init__(self) -> None:
        self._since: float | None = time.monotonic()

    def came(self) -> None:
        if self._since is not None:
            metrics.FIRST_TOKEN_SECONDS.observe(time.monotonic() - self._since)
            self._since = None


def generated(result: JobResult) -> None:
    """Count a job that this worker brought to its end."""
    for stage in ("prepared", "queued", "prefill", "decode"):
        metrics.STAGE_SECONDS.labels(stage).observe(result.timings.get(f"{stage}_ms", 0) / 1000)
    metrics.THINKING_TOKENS.observe(result.usage.get("thinking_tokens", 0))
    if result.thinking_truncated:
        metrics.CUTOFFS.labels(result.truncation_reason or "unknown").inc()
