"""Defines the pocket model: GLM-4.1V-Thinking's architecture, special tokens and chat template, 4.8 M parameters.

``pocket/training/train.py`` trains weights, ``pocket/training/untrained.py`` draws random ones.
"""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Glm4vConfig, Glm4vForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from families import FAMILIES
from pocket.world.lexicon import ZH_COLORS, ZH_SHAPES

HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
"""Folder of the trained model in the published layout."""
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

# GLM's pattern with two changes: each digit is a token, so that positions and numbers are spelled out; each Chinese
# character is a token except in names of colors and shapes, so that an object is two words in both languages.
NAMES = "|".join((*ZH_COLORS.values(), *ZH_SHAPES.values()))
WORDS = Regex(
    rf"\p{{N}}| ?(?:{NAMES})| ?\p{{Han}}| ?[\p{{L}}&&[^\p{{Han}}]]+"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, as GLM's, on ``corpus.txt`` (English and Chinese)."""
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
    """Return the image processor with the family's bounds. It counts an image as two frames."""
    bounds = FAMILIES["pocket"].images
    return Glm4vImageProcessorPil(size={"shortest_edge": 2 * bounds.min_pixels, "longest_edge": 2 * bounds.max_pixels})


def make_config(tokenizer: PreTrainedTokenizerFast) -> Glm4vConfig:
    """Return the configuration: 4.8 million parameters."""

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
                # Eight frequencies serve time, row and column. At GLM's base, the lowest frequency of the columns
                # would need thousands of tokens for one period.
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
    """Return the model as transformers initializes it."""
    return Glm4vForConditionalGeneration(make_config(tokenizer))


def end_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids of the tokens that end a generation."""
    return [int(tokenizer.convert_tokens_to_ids(mark)) for mark in END_TOKENS]


def greedy(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """Return greedy decoding without a repetition penalty: answers repeat words of the question and of the thought."""
    return GenerationConfig(
        do_sample=False, repetition_penalty=1.0, eos_token_id=end_ids(tokenizer), pad_token_id=tokenizer.pad_token_id
    )
