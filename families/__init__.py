"""What the api, the prepare worker and the engine know about each model family, as plain data.

Imports nothing else of this project, and no torch, so that the api process can use it.
"""

from families.family import Family, ImageBounds, SamplingDefaults, SpecialTokens
from families.glm_4_1v import GLM_4_1V, POCKET
from families.glm_4_6v import GLM_4_6V_FLASH
from families.history import extract_answer, history_answer
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
    "extract_answer",
    "history_answer",
]
