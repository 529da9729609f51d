"""GLM-4.1V-Thinking, and the pocket model: the same format at a size that runs on a laptop."""

from dataclasses import replace

from families.family import Family, ImageBounds, SamplingDefaults, SpecialTokens
from families.video import FixedRate, VideoBounds

GLM_4_1V = Family(
    name="glm-4.1v-thinking",
    model_type="glm4v",
    context_tokens=65_536,
    special_tokens=SpecialTokens(
        think_open="<think>",
        think_close="</think>",
        answer_open="<answer>",
        answer_close="</answer>",
        box_open="<|begin_of_box|>",
        box_close="<|end_of_box|>",
    ),
    # The newline is part of the model's training format; the reference script omits it.
    closing_text="</think>\n<answer>",
    has_thinking_switch=False,
    # transformers' processor counts an image as two frames (9,633,792 pixels); here it is one frame: 6,144 tokens.
    images=ImageBounds(factor=28, min_pixels=112 * 112 // 2, max_pixels=14 * 14 * 2 * 2 * 6144),
    low_detail_pixels=512 * 512,
    max_images=32,
    max_pages=60,
    min_page_pixels=256 * 256,
    videos=VideoBounds(
        sampler=FixedRate(fps=2, max_seconds=300),
        timestamp_format="{:d}",
        whole_seconds=True,
        factor=28,
        min_pixels=112 * 112,
        max_pixels=28 * 28 * 2 * 30_000,
    ),
    max_videos=1,
    supports_images_with_video=False,
    # In measured runs, thinking that ended without a budget took at most 4,371 tokens, and endless thinking reached
    # every limit; 8,192 separates the two and is the reference script's default.
    thinking_budget=8_192,
    max_answer_tokens=2_048,
    sampling=SamplingDefaults(temperature=0.8, top_p=0.6, top_k=2, repetition_penalty=1.1),
)

POCKET = replace(
    GLM_4_1V,
    name="pocket",
    context_tokens=2_048,
    images=ImageBounds(factor=28, min_pixels=56 * 56, max_pixels=336 * 336),
    low_detail_pixels=168 * 168,
    max_images=8,
    max_pages=8,
    min_page_pixels=56 * 56,
    # 32 frames with 784 tokens in total: a short clip, which leaves room for a question and short thinking.
    videos=replace(GLM_4_1V.videos, sampler=FixedRate(fps=2, max_seconds=16), max_pixels=28 * 28 * 2 * 784),
    thinking_budget=256,
    max_answer_tokens=128,
)
