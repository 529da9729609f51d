"""The pocket model's make: architecture, special tokens and template of GLM-4.1V-Thinking, small enough for a laptop.

Weights come from elsewhere: ``pocket/training/train.py`` learns them, ``pocket/training/untrained.py`` draws them.
"""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Glm4vConfig, Glm4vForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from families import FAMILIES
from pocket.world.lexicon import ZH_COLORS, ZH_SHAPES

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
"""The trained model, in the form that models are published in."""
VOCABULARY = 1_024
HEAD = 32

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

# GLM's, but: each digit stands alone, so that places and numbers are spelled; and so does each Chinese sign, apart from
# the names of colours and shapes, so that a thing is two words in both languages.
NAMES = "|".join((*ZH_COLORS.values(), *ZH_SHAPES.values()))
WORDS = Regex(
    rf"\p{{N}}| ?(?:{NAMES})| ?\p{{Han}}| ?[\p{{L}}&&[^\p{{Han}}]]+"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


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


def make_config(tokenizer: PreTrainedTokenizerFast) -> Glm4vConfig:
    """4.8 million parameters."""

    def token(mark: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(mark))

    return Glm4vConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 8 * HEAD,
            "intermediate_size": 704,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "max_position_embeddings": FAMILIES["pocket"].context_tokens,
            "rope_parameters": {
                "rope_type": "default",
                # Eight turns have to serve time, row and column, slower from one to the next: at GLM's base the
                # columns' slowest would need thousands of tokens to turn.
                "rope_theta": 100.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 3, 3],
            },
            "pad_token_id": token("<|endoftext|>"),
            "eos_token_id": [token(mark) for mark in END_TOKENS],
        },
        vision_config={
            "depth": 3,
            "hidden_size": 5 * HEAD,
            "num_heads": 5,
            "out_hidden_size": 8 * HEAD,
            "intermediate_size": 384,
            "image_size": 336,
        },
        image_token_id=token("<|image|>"),
        video_token_id=token("<|video|>"),
        image_start_token_id=token("<|begin_of_image|>"),
        image_end_token_id=token("<|end_of_image|>"),
        video_start_token_id=token("<|begin_of_video|>"),
        video_end_token_id=token("<|end_of_video|>"),
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Glm4vForConditionalGeneration:
    """The real class, small, as transformers initialises it."""
    return Glm4vForConditionalGeneration(make_config(tokenizer))


def end_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    return [int(tokenizer.convert_tokens_to_ids(mark)) for mark in END_TOKENS]


def greedy(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """It names what it sees: the likeliest word is the best one, and what was said before may well come again."""
    return GenerationConfig(
        do_sample=False, repetition_penalty=1.0, eos_token_id=end_ids(tokenizer), pad_token_id=tokenizer.pad_token_id
    )
