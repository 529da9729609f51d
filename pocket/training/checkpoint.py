"""Training checkpoints: shards of at most 15 MiB, written under temporary names, then renamed."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

SHARD_BYTES = 15 * 2**20


def save(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        folder: is created.
        state: JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().contiguous().cpu()
        size += tensor.nbytes
    for number, shard in enumerate(shards):
        save_file(shard, folder / f"{number}.new")
    for number in range(len(shards)):
        (folder / f"{number}.new").rename(folder / f"{number}.safetensors")
    (folder / "state.json").write_text(json.dumps({**state, "shards": len(shards)}), "utf-8")


def load(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return tensors and state, or None if the folder has no checkpoint."""
    if not (folder / "state.json").exists():
        return None
    state = json.loads((folder / "state.json").read_text("utf-8"))
    tensors: dict[str, torch.Tensor] = {}
    for number in range(state.pop("shards")):
        tensors |= load_file(folder / f"{number}.safetensors")
    return tensors, state
