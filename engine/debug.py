"""Debug interface: what tests and benchmarks may see of an engine's internals, and the few things they may set.

Call it from the thread that steps the engine. Nothing else outside this package uses the engine's private attributes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine.engine import Engine
from engine.request import ModelInputs, Request, SamplingParams
from engine.runner.sampler import ScoresObserver


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """Scheduler, block pool and forward passes at one moment."""

    running: tuple[str, ...]
    """Request ids, oldest first."""
    waiting: tuple[str, ...]
    """Request ids in queue order."""
    taken_slots: int
    num_blocks: int
    """Blocks of the KV cache, without the null block."""
    free_blocks: int
    in_flight_steps: int
    """Steps that were launched and not read yet."""
    prefills: int
    """Prompts whose computation was begun."""
    kv_bytes_per_token: int
    """Bytes that one token occupies in the KV cache, over all layers."""


def inspect(engine: Engine) -> EngineSnapshot:
    """Return a snapshot of the engine."""
    scheduler, runner = engine._scheduler, engine._runner
    shape = runner.decoder.shape
    return EngineSnapshot(
        running=tuple(sequence.id for sequence in scheduler.running),
        waiting=tuple(sequence.id for sequence in scheduler.waiting),
        taken_slots=scheduler.num_taken_slots,
        num_blocks=scheduler.pool.num_blocks,
        free_blocks=scheduler.pool.num_free,
        in_flight_steps=len(engine._in_flight),
        prefills=runner.prefills,
        kv_bytes_per_token=shape.kv_elements_per_token * runner.model.dtype.itemsize,
    )


def model_of(engine: Engine) -> Any:
    """Return the transformers model, to compare the engine with ``generate()``."""
    return engine._runner.model


def encode_media(engine: Engine, inputs: ModelInputs) -> torch.Tensor | None:
    """Run the vision encoder on the media of a request (see ``VisionEncoder.encode``)."""
    return engine._runner.vision_encoder.encode(inputs)


def fill_kv_cache_with_noise(engine: Engine) -> None:
    """Overwrite the KV cache with noise: a benchmark that skips the prompts would otherwise read zeros."""
    engine._runner.decoder.cache.fill_with_noise()


def last_token_logits(engine: Engine, inputs: ModelInputs) -> torch.Tensor:
    """Return logits ``[vocab_size]``, float32, after a text prompt: a prefill, then its last token by a decode pass.

    The engine must be idle, and the prompt must fit one prefill chunk.
    """
    greedy = SamplingParams(temperature=0, top_p=1, top_k=0, repetition_penalty=1, seed=1)
    sequence = engine.submit(Request("debug", inputs, -1, 64, greedy), lambda _: None)
    engine._runner.prefill(engine._scheduler.schedule(async_scheduling=False).prefills)
    assert sequence.slot is not None
    last = len(inputs) - 1
    with torch.inference_mode():
        row = (int(inputs.input_ids[-1]), sequence.slot, last, last)
        logits = engine._runner.decode_logits([row], len(inputs))[0].float()
    engine.abort("debug")
    return logits


@contextmanager
def observe_scores(engine: Engine, observer: ScoresObserver) -> Iterator[None]:
    """Call ``observer`` with the scores of every sampling, after penalty and suppression (see ``sample``)."""
    engine._runner.on_scores = observer
    try:
        yield
    finally:
        engine._runner.on_scores = None
