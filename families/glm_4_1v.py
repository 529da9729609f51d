"""GLM-4.1V-Thinking, and the pocket model that shares its format at a size that a laptop serves."""

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
    # The newline is the model's own training format; the reference script leaves it out.
    closing_text="</think>\n<answer>",
    has_thinking_switch=False,
    # The processor counts a picture as two frames (9,633,792 pixels); here one counts: 6,144 tokens.
    images=ImageBounds(factor=28, min_pixels=112 * 112 // 2, max_pixels=14 * 14 * 2 * 2 * 6144),
    low_detail_pixels=512 * 512,
    max_images=32,
    max_pages=60,
    min_page_pixels=256 * 256,
    videos=VideoBounds(
        sample=FixedRate(fps=2, max_seconds=300),
        timestamp="{:d}",
        whole_seconds=True,
        factor=28,
        min_pixels=112 * 112,
        max_pixels=28 * 28 * 2 * 30_000,
    ),
    max_videos=1,
    mixes_pictures_and_video=False,
    # Runs that end by themselves were seen to stay under 4,371 tokens while runaways hit any limit;
    # 8,192 parts the two and is the reference script's default.
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
    # 32 frames of 784 tokens in all: seconds of a clip, beside a question and a short thought.
    videos=replace(GLM_4_1V.videos, sample=FixedRate(fps=2, max_seconds=16), max_pixels=28 * 28 * 2 * 784),
    thinking_budget=256,
    max_answer_tokens=128,
)
