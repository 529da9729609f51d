"""Writes the averaged weights of a training run to a folder in the published layout.

python -m pocket.training.publish RUN [FOLDER]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Glm4vForConditionalGeneration
from transformers.utils import logging as transformers_logging

from pocket.model import WEIGHTS, greedy, make_config, make_image_processor, make_tokenizer
from pocket.training import checkpoint
from pocket.training.training_step import AUX_HEAD_PREFIX

AVERAGE = "average "


def publish(folder: Path, tokenizer: Any, weights: dict[str, torch.Tensor]) -> None:
    """Write a model folder in half precision, which halves the size in the repository."""
    transformers_logging.disable_progress_bar()
    model = Glm4vForConditionalGeneration(make_config(tokenizer))
    model.load_state_dict({name: tensor.detach().cpu().float() for name, tensor in weights.items()})
    model.generation_config = greedy(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        draft = Path(scratch) / "draft"
        model.half().save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        make_image_processor().save_pretrained(draft)
        for file in sorted(draft.iterdir()):
            file.chmod(0o644)
            file.rename(folder / file.name)


def load_published(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a folder that ``publish`` wrote, in float32.

    Raises:
        FileNotFoundError
    """
    return {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}


def main(run: Path, folder: Path) -> None:
    found = checkpoint.load(run / "checkpoint")
    if found is None:
        sys.exit(f"{run} has no checkpoint; run python -m pocket.training.train {run} first.")
    tensors, state = found
    weights = {
        name.removeprefix(AVERAGE): tensor
        for name, tensor in tensors.items()
        if name.startswith(AVERAGE) and not name.startswith(AVERAGE + AUX_HEAD_PREFIX)
    }
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        sys.exit(
            f"{len(broken)} of {len(weights)} weights contain NaN or infinity, {broken[0]} among them; train again."
        )
    publish(folder, make_tokenizer(), weights)
    print(f"{folder}: {state['step']} steps, {state['seconds']:.0f} s of training")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else WEIGHTS)
