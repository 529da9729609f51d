"""Builds the pocket model with random weights: it thinks until something stops it, and its text has no meaning.

    python -m pocket.training.untrained FOLDER

Used by tests that need long generations: budgets, cancels, killed workers.
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
"""Version of the build. A folder of another version is rebuilt."""
SEED = 20_261_123
WEIGHT_STD = 0.1
"""Standard deviation of the matrices. At the usual 0.02 an untrained model repeats few tokens (5 to 13 different ones
in 64 greedy steps); at 0.1 it generates over 50. 0.25 adds no variety and amplifies rounding 50 times: the logits of
a token prefilled with its prompt and of one decoded alone differed by 1e-3 in float32, which sometimes made two runs
diverge."""
SPECIAL_TOKEN_SCALE = 0.4
"""Factor on the output rows of the special tokens. Without it, a random end token stops the generation after a few
dozen tokens, before any budget. With it, such tokens are sampled only at high temperatures."""


def build(folder: Path) -> Path:
    """Write the model to ``folder`` in the published layout, unless this version is there already."""
    marker = folder / "recipe.txt"
    if marker.is_file() and marker.read_text("utf-8") == RECIPE:
        return folder
    transformers_logging.disable_progress_bar()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Write to a temporary folder, then rename, so that readers never see a partial folder.
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
                torch.nn.init.normal_(parameter, std=WEIGHT_STD)
        with torch.no_grad():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))] *= SPECIAL_TOKEN_SCALE
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
