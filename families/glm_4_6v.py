"""GLM-4.6V-Flash: GLM-4.1V's vision encoder and size, with another output format."""

from dataclasses import replace

from families.family import SpecialTokens
from families.glm_4_1v import GLM_4_1V
from families.video import RateByDuration

GLM_4_6V_FLASH = replace(
    GLM_4_1V,
    name="glm-4.6v-flash",
    context_tokens=131_072,
    # No answer tokens: the answer is everything after `</think>`.
    special_tokens=SpecialTokens(
        think_open="<think>",
        think_close="</think>",
        answer_open=None,
        answer_close=None,
        box_open="<|begin_of_box|>",
        box_close="<|end_of_box|>",
    ),
    closing_text="</think>\n",
    has_thinking_switch=True,
    videos=replace(
        GLM_4_1V.videos,
        sampler=RateByDuration(rates=((30, 3), (300, 1), (2400, 0.5)), max_frames=640),
        timestamp_format="{:.1f} seconds",
        whole_seconds=False,
    ),
)
