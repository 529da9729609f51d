"""What is known of each model family: plain data that the api, the cpu worker and the engine all read.

A leaf: it imports nothing of ours, and no torch, so that the HTTP process can use it too.
"""

from families.family import Family, ImageBounds, Marks, SamplingDefaults
from families.glm_4_1v import GLM_4_1V, POCKET
from families.history import answer_of

FAMILIES: dict[str, Family] = {family.name: family for family in (GLM_4_1V, POCKET)}

__all__ = ["FAMILIES", "Family", "ImageBounds", "Marks", "SamplingDefaults", "answer_of"]
