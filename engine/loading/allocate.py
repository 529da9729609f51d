"""A loaded model's place on its device: how much of the memory is KV cache, and which kernels run."""

import os
from dataclasses import dataclass

import torch

from engine.config import EngineLimits
from engine.core.block_pool import BLOCK_TOKENS, BlockPool, blocks_for
from engine.core.scheduler import ROWS_PER_SEQUENCE
from engine.errors import ModelUnusable
from engine.loading.model_loader import LoadedModel
from engine.runner.cuda_graphs import DecodeGraphs
from engine.runner.decoder import Decoder
from engine.runner.kv_cache import KVCache, TextShape
from engine.runner.model_runner import Runner
from engine.runner.torch_ops import PlainOps
from engine.runner.vision_encoder import Vision

GIB = 2**30
WORKING_GIB = 4.0
"""Of a GPU's memory, left for activations: a chunk of 2,048 tokens, and the vision tower on the largest picture."""
USED_SHARE = 0.92
"""Of what is left of a GPU's memory: allocators break some, and a driver wants some."""


@dataclass(frozen=True, slots=True)
class Residence:
    runner: Runner
    pool: BlockPool
    slots: int
    chunk_tokens: int
    attention: str


@dataclass(frozen=True, slots=True)
class _Defaults:
    slots: int
    chunk_tokens: int
    vision_cache_mib: int


ON_GPU = _Defaults(slots=64, chunk_tokens=2_048, vision_cache_mib=1_024)
ON_CPU = _Defaults(slots=16, chunk_tokens=512, vision_cache_mib=128)
CPU_KV_GIB = 1.0


def reside(loaded: LoadedModel, limits: EngineLimits) -> Residence:
    """Allocate all that stays, once.

    Raises:
        ModelUnusable: the memory holds no single full context.
    """
    device, model = loaded.model.device, loaded.model
    if device.type == "cpu":
        # torch's threads wait for each other by spinning: beside other processes, two on two cores took far longer.
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    defaults = ON_GPU if device.type == "cuda" else ON_CPU
    slots = limits.slots or defaults.slots
    shape = TextShape.of(model.config.text_config)
    pool = BlockPool(_kv_tokens(loaded, shape, slots, limits.kv_gib))
    cache = KVCache(shape, pool, slots=slots, longest=loaded.context_tokens, device=device, dtype=model.dtype)
    ops = _ops(device, shape)
    decoder = Decoder(model, cache, ops)
    mib = defaults.vision_cache_mib if limits.vision_cache_mib is None else limits.vision_cache_mib
    vision = Vision(model, cache_bytes=mib * 2**20)
    runner = Runner(model, decoder, vision)
    if ops.is_capturable:
        filler = (0, slots, 0, 0)
        runner.graphs = DecodeGraphs(
            lambda rows: runner.read(rows, longest=0), rows=slots + ROWS_PER_SEQUENCE, filler=filler, device=device
        )
    return Residence(runner, pool, slots, limits.chunk_tokens or defaults.chunk_tokens, ops.name)


def _kv_tokens(loaded: LoadedModel, shape: TextShape, slots: int, kv_gib: float | None) -> int:
    """Tokens that the cache shall hold: at most what all slots can use, in whole blocks."""
    per_token = shape.kv_numbers * loaded.model.dtype.itemsize
    device = loaded.model.device
    if kv_gib is None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kv_gib = (free / GIB - WORKING_GIB) * USED_SHARE
    room = int((CPU_KV_GIB if kv_gib is None else kv_gib) * GIB / per_token)
    tokens = min(room, slots * blocks_for(loaded.context_tokens + 1) * BLOCK_TOKENS)
    least = min(loaded.context_tokens, 4_096)
    if tokens < least:
        raise ModelUnusable(
            f"The KV cache would hold {max(tokens, 0)} tokens, but {least} is the least that serves one request: "
            "raise ENGINE_KV_GIB, or take a device with more memory."
        )
    return tokens // BLOCK_TOKENS * BLOCK_TOKENS


def _ops(device: torch.device, shape: TextShape) -> PlainOps:
    """The GPU's own kernels where they run, and plain torch elsewhere."""
    if device.type != "cuda":
        return PlainOps()
    try:  # Triton comes with torch's CUDA builds for Linux
        from engine.runner.cuda_ops import CudaOps
    except ImportError:
        return PlainOps()
    return CudaOps(shape)
