"""What is known of each model family: plain data that the api, the prepare worker and the engine all read.

A leaf: it imports nothing of ours, and no torch, so that the HTTP process can use it too.
"""

from families.family import Family, ImageBounds, SamplingDefaults, SpecialTokens
from families.glm_4_1v import GLM_4_1V, POCKET
from families.glm_4_6v import GLM_4_6V_FLASH
from families.history import answer_in, answer_of
from families.video import FrameClock, VideoBounds

FAMILIES: dict[str, Family] = {family.name: family for family in (GLM_4_1V, GLM_4_6V_FLASH, POCKET)}

__all__ = [
    "FAMILIES",
    "Family",
    "FrameClock",
    "ImageBounds",
    "SamplingDefaults",
    "SpecialTokens",
    "VideoBounds",
    "answer_in",
    "answer_of",
]
