"""The shape of a family's facts."""

from dataclasses import dataclass, replace

from families.bounds import fit
from families.video import VideoBounds


@dataclass(frozen=True)
class SpecialTokens:
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

        Raises:
            ValueError: one side is more than ``max_aspect`` times the other.
        """
        return fit(
            width, height, frames=1, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels,
            max_aspect=self.max_aspect,
        )  # fmt: skip

    def within(self, max_pixels: int | None) -> "ImageBounds":
        """Bounds that a client has narrowed."""
        if max_pixels is None:
            return self
        return replace(self, max_pixels=max(self.min_pixels, min(self.max_pixels, max_pixels)))

    def tokens(self, width: int, height: int) -> int:
        """How many prompt tokens a picture of this size becomes, its begin and end special_tokens included."""
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
    special_tokens: SpecialTokens
    closing_text: str
    """Fed into the KV cache to end the thinking: the bridge from a thought to its answer."""
    has_thinking_switch: bool
    """Its chat template knows ``enable_thinking=False`` (``/nothink``): a budget of 0 then needs no closing text."""
    images: ImageBounds
    low_detail_pixels: int
    """For pictures that a client asks to be looked at roughly."""
    max_images: int
    """In a conversation."""
    max_pages: int
    """Of all documents in a conversation."""
    min_page_pixels: int
    """A page with less cannot be read any more."""
    videos: VideoBounds
    max_videos: int
    """In a conversation."""
    mixes_pictures_and_video: bool
    """Was it trained on both in one conversation?"""
    thinking_budget: int
    """The default for jobs that name none."""
    max_answer_tokens: int
    """The default for jobs that name none."""
    sampling: SamplingDefaults
