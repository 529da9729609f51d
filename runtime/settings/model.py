"""The settings of the model and the engine."""

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from families import FAMILIES, Family
from runtime.settings.fields import Names, SettingsGroup


class ModelSettings(SettingsGroup):
    """The model and the engine."""

    model: str = "pocket"
    """``pocket`` (the embedded model), a folder, or a Hugging Face id such as ``zai-org/GLM-4.1V-9B-Thinking``."""
    model_aliases: Names = ()
    """Comma-separated further names of the model, such as ``gpt-5``, for OpenAI's clients whose model name is fixed."""
    model_family: str | None = None
    """``pocket``, ``glm-4.1v-thinking`` or ``glm-4.6v-flash``. Default: ``pocket`` for the pocket model,
    ``glm-4.6v-flash`` when ``MODEL`` contains "4.6V-Flash", otherwise ``glm-4.1v-thinking``."""
    model_revision: str = "main"
    """Branch, tag or commit of a Hugging Face id."""
    model_device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: the GPU if there is one, otherwise the CPU."""
    model_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on a GPU, float32 on a CPU."""
    engine_slots: int | None = Field(default=None, ge=1, le=248)
    """Jobs that a generate worker runs at the same time. Default: 64 on a GPU, 16 on a CPU."""
    engine_kv_gib: float | None = Field(default=None, gt=0)
    """Size of the KV cache. Default: the GPU memory that the model leaves free, or at most 1 GiB on a CPU."""
    engine_prefix_cache: bool = True
    """Keep the KV cache of computed tokens while its memory is free: a follow-up or repeat of the same tenant computes
    what is new. Tenants share nothing, so that none can measure what another has asked."""

    @model_validator(mode="after")
    def _check_family(self) -> Self:
        if self.family_name not in FAMILIES:
            raise ValueError(f"MODEL_FAMILY={self.model_family!r} is unknown; known: {', '.join(FAMILIES)}")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names under which clients may ask for the model."""
        return (self.model, *self.model_aliases)

    @property
    def family_name(self) -> str:
        if self.model_family or self.model == "pocket":
            return self.model_family or "pocket"
        return "glm-4.6v-flash" if "4.6v-flash" in self.model.lower() else "glm-4.1v-thinking"

    @cached_property
    def family(self) -> Family:
        return FAMILIES[self.family_name]
