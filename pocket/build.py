"""Builds the pocket model: architecture, special tokens and template of GLM-4.1V-Thinking, 2.8 million parameters.

    python -m pocket.build [FOLDER]

Untrained: its weights are drawn so that it does not repeat one token, and its words mean nothing. It stands in where
the path matters and the answer does not: in tests, and on a machine without a GPU.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Glm4vConfig, Glm4vForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.utils import logging as transformers_logging

from families import FAMILIES

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
RECIPE = "3"
"""Rises with every change of what is built; a folder of another recipe is built anew."""
SEED = 20_261_123
VOCABULARY = 1_024
SPREAD = 0.1
"""Standard deviation of the matrices. At the usual 0.02 an untrained model says one token for ever (5 to 13 different
ones in 64 greedy steps); at 0.1 it says over 50. At 0.25 it says no more, and rounding grows 50 times as far: a token
read with its prompt and one read alone differed by 1e-3 of a logit in float32, enough to part two runs now and then."""
QUIET = 0.4
"""Factor on the output rows of the special tokens. Without it a thought breaks off at a random end token after a few
dozen tokens, so that no budget bites and no job lasts; with it such tokens come only where sampling is wide."""

SPECIAL_TOKENS = (
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>",
    "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
    "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>", "<|video|>",
    "<think>", "</think>", "<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>",
)  # fmt: skip
END_TOKENS = ("<|endoftext|>", "<|user|>", "<|observation|>", "</answer>")

CHAT_TEMPLATE = """\
[gMASK]<sop>
{%- for message in messages -%}
<|{{ message.role }}|>
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == "image" -%}<|begin_of_image|><|image|><|end_of_image|>
{%- elif part.type == "video" -%}<|begin_of_video|><|video|><|end_of_video|>
{%- else -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{% endif -%}
"""

WORDS = Regex(r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")


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
        make_model(tokenizer).save_pretrained(draft)
        (draft / "recipe.txt").write_text(RECIPE, "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    return folder


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GLM's, with merges from a page of English and Chinese."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(HERE / "corpus.txt")], trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_image_processor() -> Glm4vImageProcessorPil:
    """With the family's bounds; the processor counts a picture as two frames."""
    bounds = FAMILIES["pocket"].images
    return Glm4vImageProcessorPil(size={"shortest_edge": 2 * bounds.min_pixels, "longest_edge": 2 * bounds.max_pixels})


def make_model(tokenizer: PreTrainedTokenizerFast) -> Glm4vForConditionalGeneration:
    """The real class, small, with weights from a fixed seed."""

    def token(mark: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(mark))

    config = Glm4vConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": FAMILIES["pocket"].context_tokens,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 3, 3],
            },
            "pad_token_id": token("<|endoftext|>"),
            "eos_token_id": [token(mark) for mark in END_TOKENS],
        },
        vision_config={
            "depth": 3,
            "hidden_size": 128,
            "num_heads": 4,
            "out_hidden_size": 192,
            "intermediate_size": 256,
            "image_size": 336,
        },
        image_token_id=token("<|image|>"),
        video_token_id=token("<|video|>"),
        image_start_token_id=token("<|begin_of_image|>"),
        image_end_token_id=token("<|end_of_image|>"),
        video_start_token_id=token("<|begin_of_video|>"),
        video_end_token_id=token("<|end_of_video|>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Glm4vForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=SPREAD)
        with torch.no_grad():
            model.lm_head.weight[[token(mark) for mark in SPECIAL_TOKENS]] *= QUIET
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.8,
        top_p=0.6,
        top_k=2,
        repetition_penalty=1.1,
        eos_token_id=[token(mark) for mark in END_TOKENS],
        pad_token_id=token("<|endoftext|>"),
    )
    return model.eval()


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS))  # noqa: T201
