"""Frames of a video to what the vision tower reads; transformers' video processor needs torchvision for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


@dataclass(frozen=True)
class Patches:
    """The tower's measures, and how it wants colours."""

    size: int
    merge: int
    temporal: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, image_processor: Any) -> "Patches":
        return cls(
            size=image_processor.patch_size,
            merge=image_processor.merge_size,
            temporal=image_processor.temporal_patch_size,
            mean=tuple(image_processor.image_mean),
            std=tuple(image_processor.image_std),
        )

    def cut(self, frames: Sequence[Image.Image]) -> tuple[torch.Tensor, list[int]]:
        """Patches ``[pairs × rows × columns, channels × temporal × size²]``, float32, and ``[pairs, rows, columns]``.

        The order is that of transformers' ``Glm4vVideoProcessor.patchify``, which a test compares: patches that
        merge into one token stand together.

        Args:
            frames: of one size whose sides are multiples of ``size × merge``; a multiple of ``temporal`` of them.
        """
        side = self.size
        grid = [len(frames) // self.temporal, frames[0].height // side, frames[0].width // side]
        pairs, rows, columns = grid
        pixels = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).float() / 255
        pixels = (pixels - torch.tensor(self.mean)) / torch.tensor(self.std)
        blocks = pixels.view(
            pairs, self.temporal, rows // self.merge, self.merge, side, columns // self.merge, self.merge, side, 3
        )
        # pair, row of tokens, column of tokens, row and column within the token; then channel, frame, y, x
        ordered = blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
        return ordered.reshape(pairs * rows * columns, -1), grid
