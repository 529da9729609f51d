"""The shape of a family's facts."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Marks:
    """The special tokens that give an answer its structure, as text.

    Ids are never written down: they differ between siblings (GLM-4.1V 151345…, GLM-4.5V 151350…)
    and come from the model's own tokenizer.
    """

    think_open: str
    think_close: str
    answer_open: str | None
    answer_close: str | None
    box_open: str
    box_close: str


@dataclass(frozen=True)
class ImageBounds:
    """How large a picture the vision tower takes, in pixels of one frame."""

    factor: int
    """Sides are multiples of this: patch size × merge size."""
    min_pixels: int
    max_pixels: int
    max_aspect: int = 200

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) that the model sees for a picture of this size.

        Agrees with ``smart_resize`` of transformers' Glm4v image processor, with one frame counted twice
        for the temporal patch; a test compares the two.

        Raises:
            ValueError: one side is more than ``max_aspect`` times the other.
        """
        if min(width, height) < self.factor:
            scale = max(self.factor / width, self.factor / height)
            width, height = int(width * scale), int(height * scale)
        if max(width, height) > self.max_aspect * min(width, height):
            raise ValueError(f"one side is more than {self.max_aspect} times the other ({width}×{height})")
        fitted = tuple(round(side / self.factor) * self.factor for side in (width, height))
        if fitted[0] * fitted[1] > self.max_pixels:
            # Divided in transformers' order: another one rounds differently, at 2232×62 for instance.
            shrink = math.sqrt(width * height / self.max_pixels)
            fitted = tuple(
                max(self.factor, math.floor(side / shrink / self.factor) * self.factor) for side in (width, height)
            )
        elif fitted[0] * fitted[1] < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            fitted = tuple(math.ceil(side * grow / self.factor) * self.factor for side in (width, height))
        return fitted[0], fitted[1]

    def within(self, max_pixels: int | None) -> "ImageBounds":
        """Bounds that a client has narrowed."""
        if max_pixels is None:
            return self
        return replace(self, max_pixels=max(self.min_pixels, min(self.max_pixels, max_pixels)))

    def tokens(self, width: int, height: int) -> int:
        """How many prompt tokens a picture of this size becomes, its begin and end marks included."""
        fitted_width, fitted_height = self.fit(width, height)
        return fitted_width * fitted_height // self.factor**2 + 2


@dataclass(frozen=True)
class SamplingDefaults:
    """Used where neither the job nor the model's generation_config.json says otherwise."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Family:
    """One model family: everything about it that is not weights."""

    name: str
    model_type: str
    """``model_type`` in the config.json that belongs to it; a worker refuses another."""
    context_tokens: int
    marks: Marks
    closing_text: str
    """Fed into the KV cache to end the thinking: the bridge from a thought to its answer."""
    images: ImageBounds
    low_detail_pixels: int
    """For pictures that a client asks to be looked at roughly."""
    max_images: int
    thinking_budget: int
    """The default for jobs that name none."""
    max_answer_tokens: int
    """The default for jobs that name none."""
    sampling: SamplingDefaults
