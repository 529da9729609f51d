"""Allocate a loaded model's KV cache on its device, and choose the kernels."""

from dataclasses import dataclass
from typing import Any

import torch

from engine.config import EngineConfig
from engine.core.block_pool import BLOCK_SIZE, BlockPool, blocks_needed
from engine.core.scheduler import MAX_DECODE_ROWS
from engine.core.step_costs import StepCosts
from engine.errors import ModelLoadError
from engine.loading.model_loader import LoadedModel
from engine.runner.cuda_graphs import DecodeGraphs
from engine.runner.decoder import Decoder
from engine.runner.kv_cache import AttentionShape, KVCache
from engine.runner.model_runner import ModelRunner
from engine.runner.torch_ops import TorchOps
from engine.runner.vision_encoder import MAX_PASS_PATCHES, VisionEncoder
from engine.runner.vision_tower import VisionTower
from runtime.process.cgroup import available_cpus

GIB = 2**30
ACTIVATION_GIB = 4.0
"""GPU memory reserved for activations: a chunk of 2,048 tokens, and the vision encoder on the largest image."""
MEMORY_UTILIZATION = 0.92
"""Share of the remaining GPU memory that the KV cache takes: allocators fragment some, and the driver needs some."""
MIN_KV_TOKENS = 4_096
"""Smallest KV cache that is accepted, unless the model's context is shorter."""
CPU_KV_CACHE_GIB = 1.0


@dataclass(frozen=True, slots=True)
class DeviceAllocation:
    """Everything that stays on the device for the lifetime of the engine."""

    runner: ModelRunner
    pool: BlockPool
    slots: int
    reserve_slots: int
    max_prefill_tokens: int
    max_idle_prefill_tokens: int
    costs: StepCosts
    attention: str


@dataclass(frozen=True, slots=True)
class _Defaults:
    slots: int
    max_prefill_tokens: int
    max_idle_prefill_tokens: int
    encoder_cache_mib: int
    max_encoder_patches: int


GPU_DEFAULTS = _Defaults(
    slots=64,
    max_prefill_tokens=2_048,
    max_idle_prefill_tokens=8_192,
    encoder_cache_mib=1_024,
    max_encoder_patches=MAX_PASS_PATCHES,
)
CPU_DEFAULTS = _Defaults(
    slots=16,
    max_prefill_tokens=512,
    max_idle_prefill_tokens=512,
    encoder_cache_mib=128,
    max_encoder_patches=0,  # more images in a pass gain nothing, and their embeddings would depend on each other
)


def allocate(loaded: LoadedModel, config: EngineConfig) -> DeviceAllocation:
    """Allocate the KV cache, and capture CUDA graphs where the kernels allow it.

    Raises:
        ModelLoadError: the memory does not hold one sequence.
    """
    device, model = loaded.model.device, loaded.model
    if device.type == "cpu":
        # torch's threads spin while they wait: beside other processes, two threads on two cores took far longer.
        torch.set_num_threads(min(torch.get_num_threads(), max(1, available_cpus() // 2)))
    defaults = GPU_DEFAULTS if device.type == "cuda" else CPU_DEFAULTS
    slots = config.slots or defaults.slots
    shape = AttentionShape.of(model.config.text_config)
    pool = BlockPool(_kv_cache_tokens(loaded, shape, slots, config.kv_cache_gib))
    reserve_slots = slots  # a worker claims at most twice as many jobs as it has slots
    tables = slots + reserve_slots
    cache = KVCache(
        shape, pool, slots=tables, max_sequence_tokens=loaded.context_tokens, device=device, dtype=model.dtype
    )
    ops = _choose_ops(model, shape)
    decoder = Decoder(model, cache, ops)
    encoder_mib = defaults.encoder_cache_mib if config.encoder_cache_mib is None else config.encoder_cache_mib
    costs = step_costs(model)
    encoder = VisionEncoder(
        VisionTower(model, ops),
        costs,
        device=device,
        dtype=model.dtype,
        cache_bytes=encoder_mib * 2**20,
        max_pass_patches=defaults.max_encoder_patches,
    )
    if device.type == "cuda":
        encoder.warm_up()
    runner = ModelRunner(model, decoder, encoder)
    if ops.is_capturable:
        runner.graphs = DecodeGraphs(
            lambda rows: runner.forward_decode(rows, longest=0),
            rows=slots + MAX_DECODE_ROWS,
            padding=(0, tables, 0, 0),  # the last row of the block tables, which belongs to no slot
            device=device,
        )
    return DeviceAllocation(
        runner,
        pool,
        slots,
        reserve_slots,
        config.max_prefill_tokens or defaults.max_prefill_tokens,
        config.max_prefill_tokens or defaults.max_idle_prefill_tokens,
        costs,
        ops.name,
    )


def step_costs(model: Any) -> StepCosts:
    """Return the costs of a model's passes, by its multiplications."""
    text, vision = model.config.text_config, model.config.vision_config
    visual = model.model.visual
    token = 2 * sum(parameter.numel() for parameter in model.model.language_model.layers.parameters())
    patch = 2 * sum(parameter.numel() for parameter in visual.blocks.parameters())
    merged = sum(parameter.numel() for part in (visual.merger, visual.downsample) for parameter in part.parameters())
    return StepCosts(
        token_pair=4 * text.num_hidden_layers * text.hidden_size / token,
        patch=(patch + 2 * merged / visual.spatial_merge_size**2) / token,
        patch_pair=4 * vision.depth * vision.hidden_size / token,
    )


def _kv_cache_tokens(loaded: LoadedModel, shape: AttentionShape, slots: int, kv_cache_gib: float | None) -> int:
    """Return the capacity of the KV cache: what fits the memory, at most what all slots can use, in whole blocks."""
    bytes_per_token = shape.kv_elements_per_token * loaded.model.dtype.itemsize
    device = loaded.model.device
    if kv_cache_gib is None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kv_cache_gib = (free / GIB - ACTIVATION_GIB) * MEMORY_UTILIZATION
    fitting = int((CPU_KV_CACHE_GIB if kv_cache_gib is None else kv_cache_gib) * GIB / bytes_per_token)
    tokens = min(fitting, slots * blocks_needed(loaded.context_tokens + 1) * BLOCK_SIZE)
    minimum = min(loaded.context_tokens, MIN_KV_TOKENS)
    if tokens < minimum:
        raise ModelLoadError(
            f"The KV cache would hold {max(tokens, 0)} tokens, but at least {minimum} are needed; "
            "raise ENGINE_KV_GIB, or use a device with more memory."
        )
    return tokens // BLOCK_SIZE * BLOCK_SIZE


def _choose_ops(model: Any, shape: AttentionShape) -> TorchOps:
    """Return our Triton kernels where they run, and plain torch elsewhere."""
    if model.device.type != "cuda":
        return TorchOps()
    try:  # Triton comes with torch's CUDA builds for Linux
        from engine.runner.cuda_ops import CudaOps
        from engine.runner.prefill_attention import choose_prefill
    except ImportError:
        return TorchOps()
    vision = model.config.vision_config
    head_dim = vision.hidden_size // vision.num_heads
    return CudaOps(shape, choose_prefill(shape, model.dtype, vision_heads=vision.num_heads, vision_head_dim=head_dim))
