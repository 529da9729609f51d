"""Input of the engine: plain data. The tensors need torch only when they are created."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.events import Token

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the tokens of a request are sampled."""

    temperature: float
    """0: always the most likely token."""
    top_p: float
    top_k: int
    """0: no limit."""
    repetition_penalty: float
    """1: no penalty. Applies to all token ids of prompt and output, as in transformers."""
    seed: int


@dataclass(frozen=True)
class ModelInputs:
    """Tensors of one conversation, on the CPU. Fields have the names of the model's arguments."""

    input_ids: "torch.Tensor"
    """``[length]``, int64. An image, or a frame pair, is as many image tokens as it has merged patches."""
    mm_token_type_ids: "torch.Tensor"
    """``[length]``, int32: 0 text, 1 image, 2 video."""
    pixel_values: "torch.Tensor | None" = None
    """``[patches of all images, channels × temporal × patch²]``, in the model's type or float32."""
    image_grid_thw: "torch.Tensor | None" = None
    """``[images, 3]``, int64: patches in time, height and width."""
    pixel_values_videos: "torch.Tensor | None" = None
    """Patches of all videos; layout of ``pixel_values``."""
    video_grid_thw: "torch.Tensor | None" = None
    """``[videos, 3]``, int64: frame pairs, patches in height and width."""
    thinking_closed: bool = False
    """The prompt itself closes the thinking, so generation begins with the answer."""
    mm_hashes: tuple[bytes, ...] = ()
    """One hash per image or video: its key in the encoder cache. Empty: the cache is not used."""

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Request:
    """One generation."""

    id: str
    inputs: ModelInputs
    thinking_budget: int
    """Thinking tokens; -1: no budget, 0: no thinking."""
    max_answer_tokens: int
    sampling: SamplingParams
    max_total_tokens: int | None = None
    """Thinking and answer tokens together; the answer gets what the thinking leaves. The thinking stops one token
    before the total at the latest, so that there is an answer: choose a budget that leaves more. None: no total."""
    keep_box_tokens: bool = False
    """Keep the special tokens around boxes and values in the text of the answer."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings. They have no effect on the thinking."""
    grammar: str | None = None
    """Grammar of the answer, in llguidance's JSON or Lark format; None: any text. The answer ends with the grammar, in
    which special tokens do not occur."""
    journal: tuple[Token, ...] = ()
    """Output tokens of an earlier run of the same request; generation continues after them."""
    group: str = ""
    """Requests of one group share its part of the slots; each group gets the same number while it has requests."""
