"""The data types that describe a model family."""

from dataclasses import dataclass, replace

from families.bounds import fit
from families.video import VideoBounds


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens that structure an output, as text.

    Their ids differ between models of a family (GLM-4.1V 151345…, GLM-4.5V 151350…), so they are looked up in the
    model's own tokenizer and never stored here.
    """

    think_open: str
    think_close: str
    answer_open: str | None
    """None: the answer is everything after ``think_close``."""
    answer_close: str | None
    box_open: str
    box_close: str


@dataclass(frozen=True)
class ImageBounds:
    """The image sizes that the vision encoder accepts."""

    factor: int
    """Both sides are multiples of this: patch size × merge size, in pixels."""
    min_pixels: int
    max_pixels: int
    max_aspect: int = 200

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height at which the model sees an image, in pixels.

        Raises:
            ValueError: one side is more than ``max_aspect`` times the other.
        """
        return fit(
            width, height, frames=1, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels,
            max_aspect=self.max_aspect,
        )  # fmt: skip

    def narrow(self, max_pixels: int | None) -> "ImageBounds":
        """Return these bounds with a client's limit. None: the client set no limit."""
        if max_pixels is None:
            return self
        return replace(self, max_pixels=max(self.min_pixels, min(self.max_pixels, max_pixels)))

    def token_count(self, width: int, height: int) -> int:
        """Return the number of prompt tokens of an image, with its begin and end tokens."""
        fitted_width, fitted_height = self.fit(width, height)
        return fitted_width * fitted_height // self.factor**2 + 2


@dataclass(frozen=True)
class SamplingDefaults:
    """Used where neither the job nor the model's generation_config.json sets a value."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Family:
    """A model family: everything except the weights and the tokenizer."""

    name: str
    model_type: str
    """``model_type`` in the model's config.json; a worker refuses any other."""
    context_tokens: int
    special_tokens: SpecialTokens
    closing_text: str
    """Fed into the KV cache to end the thinking and to begin the answer."""
    has_thinking_switch: bool
    """The chat template supports ``enable_thinking=False`` (``/nothink``); a budget of 0 then needs no closing text."""
    images: ImageBounds
    low_detail_pixels: int
    """The limit for images with ``detail: low``."""
    max_images: int
    """In a conversation."""
    max_pages: int
    """Of all documents in a conversation."""
    min_page_pixels: int
    """The text on a smaller page is not legible."""
    videos: VideoBounds
    max_videos: int
    """In a conversation."""
    supports_images_with_video: bool
    """The model was trained on images and videos in one conversation."""
    thinking_budget: int
    """Default, in tokens."""
    max_answer_tokens: int
    """Default."""
    sampling: SamplingDefaults
