"""Frames of a video to patches for the vision encoder. transformers' video processor needs torchvision for this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


@dataclass(frozen=True)
class VideoPatchifier:
    """Patch sizes and colour normalization of a vision encoder."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, image_processor: Any) -> "VideoPatchifier":
        return cls(
            patch_size=image_processor.patch_size,
            merge_size=image_processor.merge_size,
            temporal_patch_size=image_processor.temporal_patch_size,
            mean=tuple(image_processor.image_mean),
            std=tuple(image_processor.image_std),
        )

    def patchify(self, frames: Sequence[Image.Image]) -> tuple[torch.Tensor, list[int]]:
        """Split frames into patches.

        The order is that of transformers' ``Glm4vVideoProcessor.patchify``, which a test compares: patches that are
        merged into one token are adjacent.

        Args:
            frames: a multiple of ``temporal_patch_size`` frames of one size; each side is a multiple of
                ``patch_size × merge_size`` pixels.

        Returns:
            Patches ``[pairs × rows × columns, channels × temporal × patch²]``, float32, and ``[pairs, rows, columns]``.
        """
        side, merge = self.patch_size, self.merge_size
        grid = [len(frames) // self.temporal_patch_size, frames[0].height // side, frames[0].width // side]
        pairs, rows, columns = grid
        pixels = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).float() / 255
        pixels = (pixels - torch.tensor(self.mean)) / torch.tensor(self.std)
        blocks = pixels.view(
            pairs, self.temporal_patch_size, rows // merge, merge, side, columns // merge, merge, side, 3
        )
        # pair, row of tokens, column of tokens, row and column within the token; then channel, frame, y, x
        ordered = blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
        return ordered.reshape(pairs * rows * columns, -1), grid
