"""Load a model from a folder or the hub, or say clearly why it cannot be used."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    Glm4vForConditionalGeneration,
)
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.utils import logging as transformers_logging

from engine.core.tokenizer_info import TokenizerInfo
from engine.errors import ModelLoadError
from engine.loading.model_folder import find_problems
from families import Family, SamplingDefaults

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16"]

MAX_HASHED_BYTES = 64 * 2**20
"""Files up to this size are hashed; of larger ones only the size counts."""


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device with all that belongs to it."""

    model: Any
    tokenizer: Any
    image_processor: Any
    tokenizer_info: TokenizerInfo
    sampling_defaults: SamplingDefaults
    family: Family
    context_tokens: int
    revision: str


def load_model(name: str, *, revision: str, device: Device, dtype: Dtype, family: Family) -> LoadedModel:
    """Load a model from a folder or hub id onto a device.

    Raises:
        ModelLoadError: the model does not exist, is incomplete or of another family, or its device does not exist.
    """
    transformers_logging.disable_progress_bar()
    if Path(name).is_dir() and (problems := find_problems(Path(name), model_type=family.model_type)):
        raise ModelLoadError(f"MODEL={name!r} cannot be used: {'; '.join(problems)}.")
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        image_processor = Glm4vImageProcessorPil.from_pretrained(name, revision=revision)
        generation = GenerationConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"MODEL={name!r} cannot be loaded: {error}") from error
    if config.model_type != family.model_type:
        raise ModelLoadError(
            f"MODEL={name!r} has model_type {config.model_type!r}, but the family {family.name} needs "
            f"{family.model_type!r}; set MODEL_FAMILY to the model's family."
        )
    chosen = _choose_device(device)
    model = _load_weights(name, revision, _choose_dtype(dtype, chosen))
    eos = generation.eos_token_id
    return LoadedModel(
        model=model.to(chosen).eval(),
        tokenizer=tokenizer,
        image_processor=image_processor,
        tokenizer_info=TokenizerInfo(tokenizer, family, eos if isinstance(eos, list) else [eos]),
        sampling_defaults=_sampling_defaults(generation, family),
        family=family,
        context_tokens=min(family.context_tokens, config.text_config.max_position_embeddings),
        revision=_revision(name, config),
    )


def _load_weights(name: str, revision: str, dtype: torch.dtype) -> Any:
    """Raises ModelLoadError, also for missing tensors, which transformers would fill with random numbers."""
    try:
        model, report = Glm4vForConditionalGeneration.from_pretrained(
            name, revision=revision, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelLoadError(f"The weights of MODEL={name!r} cannot be loaded: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelLoadError(
            f"The weights of MODEL={name!r} lack {len(missing)} tensors, such as {missing[0]}; download them again."
        )
    return model


def _choose_device(device: Device) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelLoadError("MODEL_DEVICE=cuda, but torch finds no GPU; set it to auto or cpu.")
    return torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")


def _choose_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


def _sampling_defaults(generation: Any, family: Family) -> SamplingDefaults:
    """Return the model's own defaults where it has them. A model with ``do_sample`` false is greedy."""

    def own(name: str, default: float) -> float:
        value = getattr(generation, name, None)
        return default if value is None else value

    if generation.do_sample is False:
        return SamplingDefaults(temperature=0, repetition_penalty=own("repetition_penalty", 1.0))
    return SamplingDefaults(
        temperature=own("temperature", family.sampling.temperature),
        top_p=own("top_p", family.sampling.top_p),
        top_k=int(own("top_k", family.sampling.top_k)),
        repetition_penalty=own("repetition_penalty", family.sampling.repetition_penalty),
    )


def _revision(name: str, config: Any) -> str:
    """Identify the weights: the hub's commit, or a hash of the folder."""
    if commit := getattr(config, "_commit_hash", None):
        return str(commit)
    digest = hashlib.sha256()
    for path in sorted(Path(name).glob("*.json")) + sorted(Path(name).glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        if size <= MAX_HASHED_BYTES:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:40]
