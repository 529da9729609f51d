"""The pocket model without training: it thinks until something stops it, and its words mean nothing.

    python -m pocket.training.untrained FOLDER

For tests of what happens to a long thought: budgets, cancels, killed workers.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from pocket.model import SPECIAL_TOKENS, end_ids, make_image_processor, make_model, make_tokenizer

RECIPE = "6"
"""Rises with every change of what is built; a folder of another recipe is built anew."""
SEED = 20_261_123
SPREAD = 0.1
"""Standard deviation of the matrices. At the usual 0.02 an untrained model says one token for ever (5 to 13 different
ones in 64 greedy steps); at 0.1 it says over 50. At 0.25 it says no more, and rounding grows 50 times as far: a token
read with its prompt and one read alone differed by 1e-3 of a logit in float32, enough to part two runs now and then."""
QUIET = 0.4
"""Factor on the output rows of the special tokens. Without it a thought breaks off at a random end token after a few
dozen tokens, so that no budget bites and no job lasts; with it such tokens come only where sampling is wide."""


def build(folder: Path) -> Path:
    """Write the model into ``folder`` in the form that models are published in; nothing to do if it is there."""
    marker = folder / "recipe.txt"
    if marker.is_file() and marker.read_text("utf-8") == RECIPE:
        return folder
    transformers_logging.disable_progress_bar()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, then renamed: whoever finds the folder finds it whole.
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        draft = Path(scratch) / "draft"
        tokenizer = make_tokenizer()
        tokenizer.save_pretrained(draft)
        make_image_processor().save_pretrained(draft)
        _model(tokenizer).save_pretrained(draft)
        (draft / "recipe.txt").write_text(RECIPE, "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    return folder


def _model(tokenizer: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = make_model(tokenizer)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=SPREAD)
        with torch.no_grad():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))] *= QUIET
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.8,
        top_p=0.6,
        top_k=2,
        repetition_penalty=1.1,
        eos_token_id=end_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    return model.eval()


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))  # noqa: T201
