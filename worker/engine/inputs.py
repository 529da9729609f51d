"""From messages and pictures to tensors, without torchvision: transformers' AutoProcessor cannot be made without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from families import Marks
from worker.engine.prompt import PromptWriter

IMAGE_MARK = "<|image|>"


@dataclass(frozen=True)
class ModelInputs:
    """Of one sequence, on the CPU."""

    input_ids: torch.Tensor
    """``[length]``, int64; a picture is as many image tokens as it has merged patches."""
    pixel_values: torch.Tensor | None
    """``[patches of all pictures, channels × temporal × patch²]``, float32."""
    image_grid_thw: torch.Tensor | None
    """``[pictures, 3]``, int64: patches in time, height and width."""
    token_types: torch.Tensor
    """``[length]``, int32: 0 text, 1 image."""

    def __len__(self) -> int:
        return len(self.input_ids)


class InputBuilder:
    """Safe to share between threads."""

    def __init__(self, tokenizer: Any, image_processor: Any, marks: Marks) -> None:
        self._prompt = PromptWriter(tokenizer, marks)
        self._image_processor = image_processor
        self._image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_MARK))

    def build(self, messages: Sequence[dict[str, Any]], pictures: Sequence[Image.Image]) -> ModelInputs:
        """Tensors for a conversation.

        Args:
            messages: role and content parts, ``{"type": "text", "text"}`` or ``{"type": "image"}``.
            pictures: RGB, in the order of their parts.
        """
        ids = self._prompt.ids(messages, IMAGE_MARK)
        pixels = grid = None
        if pictures:
            features = self._image_processor(images=list(pictures), return_tensors="pt")
            pixels, grid = features["pixel_values"].float(), features["image_grid_thw"].long()
            merged = self._image_processor.merge_size**2
            ids = self._expand(ids, [int(patches) // merged for patches in grid.prod(dim=-1)])
        input_ids = torch.tensor(ids, dtype=torch.int64)
        return ModelInputs(input_ids, pixels, grid, (input_ids == self._image_id).int())

    def _expand(self, ids: list[int], sizes: list[int]) -> list[int]:
        """Each picture's one token, as often as the picture has places."""
        expanded: list[int] = []
        size = iter(sizes)
        for token in ids:
            expanded.extend([token] * next(size) if token == self._image_id else [token])
        return expanded
