"""A loaded model's place on its device: how much of the memory is KV cache, and which kernels run."""

import os
from dataclasses import dataclass

import torch

from engine.config import EngineConfig
from engine.core.block_pool import BLOCK_SIZE, BlockPool, blocks_for
from engine.core.scheduler import ROWS_PER_SEQUENCE
from engine.errors import ModelLoadError
from engine.loading.model_loader import LoadedModel
from engine.runner.cuda_graphs import DecodeGraphs
from engine.runner.decoder import Decoder
from engine.runner.kv_cache import AttentionShape, KVCache
from engine.runner.model_runner import ModelRunner
from engine.runner.torch_ops import TorchOps
from engine.runner.vision_encoder import VisionEncoder

GIB = 2**30
WORKING_GIB = 4.0
"""Of a GPU's memory, left for activations: a chunk of 2,048 tokens, and the vision tower on the largest picture."""
USED_SHARE = 0.92
"""Of what is left of a GPU's memory: allocators break some, and a driver wants some."""


@dataclass(frozen=True, slots=True)
class DeviceAllocation:
    runner: ModelRunner
    pool: BlockPool
    slots: int
    max_prefill_tokens: int
    attention: str


@dataclass(frozen=True, slots=True)
class _Defaults:
    slots: int
    max_prefill_tokens: int
    encoder_cache_mib: int


ON_GPU = _Defaults(slots=64, max_prefill_tokens=2_048, encoder_cache_mib=1_024)
ON_CPU = _Defaults(slots=16, max_prefill_tokens=512, encoder_cache_mib=128)
CPU_KV_GIB = 1.0


def allocate(loaded: LoadedModel, config: EngineConfig) -> DeviceAllocation:
    """Allocate all that stays, once.

    Raises:
        ModelLoadError: the memory holds no single full context.
    """
    device, model = loaded.model.device, loaded.model
    if device.type == "cpu":
        # torch's threads wait for each other by spinning: beside other processes, two on two cores took far longer.
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    defaults = ON_GPU if device.type == "cuda" else ON_CPU
    slots = config.slots or defaults.slots
    shape = AttentionShape.of(model.config.text_config)
    pool = BlockPool(_kv_tokens(loaded, shape, slots, config.kv_cache_gib))
    cache = KVCache(shape, pool, slots=slots, longest=loaded.context_tokens, device=device, dtype=model.dtype)
    ops = _ops(device, shape)
    decoder = Decoder(model, cache, ops)
    mib = defaults.encoder_cache_mib if config.encoder_cache_mib is None else config.encoder_cache_mib
    vision = VisionEncoder(model, cache_bytes=mib * 2**20)
    runner = ModelRunner(model, decoder, vision)
    if ops.is_capturable:
        filler = (0, slots, 0, 0)
        runner.graphs = DecodeGraphs(
            lambda rows: runner.read(rows, longest=0), rows=slots + ROWS_PER_SEQUENCE, filler=filler, device=device
        )
    return DeviceAllocation(runner, pool, slots, config.max_prefill_tokens or defaults.max_prefill_tokens, ops.name)


def _kv_tokens(loaded: LoadedModel, shape: AttentionShape, slots: int, kv_cache_gib: float | None) -> int:
    """Tokens that the cache shall hold: at most what all slots can use, in whole blocks."""
    per_token = shape.kv_elements_per_token * loaded.model.dtype.itemsize
    device = loaded.model.device
    if kv_cache_gib is None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kv_cache_gib = (free / GIB - WORKING_GIB) * USED_SHARE
    room = int((CPU_KV_GIB if kv_cache_gib is None else kv_cache_gib) * GIB / per_token)
    tokens = min(room, slots * blocks_for(loaded.context_tokens + 1) * BLOCK_SIZE)
    least = min(loaded.context_tokens, 4_096)
    if tokens < least:
        raise ModelLoadError(
            f"The KV cache would hold {max(tokens, 0)} tokens, but {least} is the least that serves one request: "
            "raise ENGINE_KV_GIB, or take a device with more memory."
        )
    return tokens // BLOCK_SIZE * BLOCK_SIZE


def _ops(device: torch.device, shape: AttentionShape) -> TorchOps:
    """The GPU's own kernels where they run, and plain torch elsewhere."""
    if device.type != "cuda":
        return TorchOps()
    try:  # Triton comes with torch's CUDA builds for Linux
        from engine.runner.cuda_ops import CudaOps
    except ImportError:
        return TorchOps()
    return CudaOps(shape)
