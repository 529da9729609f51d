"""Images and frames to patches for the vision encoder, as transformers' processors make them, with fewer copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize


@dataclass(frozen=True)
class Patchifier:
    """Sizes and color normalization of a vision encoder.

    A color has 256 values, so its normalized values are looked up, in the model's type: no image in float32 is made.
    """

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int
    resample: int
    dtype: torch.dtype
    bits: tuple[npt.NDArray[Any], ...]
    """Per channel, the 256 normalized values, as integers with the bits of ``dtype``."""

    @classmethod
    def of(cls, image_processor: Any, dtype: torch.dtype) -> "Patchifier":
        values = np.tile(np.arange(256, dtype=np.uint8), (3, 1, 1))
        scaled = image_processor.rescale(values, image_processor.rescale_factor)
        normalized = image_processor.normalize(scaled, image_processor.image_mean, image_processor.image_std)
        as_integers = torch.int32 if dtype == torch.float32 else torch.int16
        tables = [torch.from_numpy(row).float().to(dtype).view(as_integers).numpy() for row in normalized[:, 0]]
        return cls(
            patch_size=image_processor.patch_size,
            merge_size=image_processor.merge_size,
            temporal_patch_size=image_processor.temporal_patch_size,
            min_pixels=image_processor.size["shortest_edge"],
            max_pixels=image_processor.size["longest_edge"],
            resample=image_processor.resample,
            dtype=dtype,
            bits=tuple(tables),
        )

    def patchify_image(self, image: Image.Image) -> tuple[torch.Tensor, list[int]]:
        """Resize an image to a size that the encoder accepts, and split it into patches.

        Returns:
            Patches ``[rows × columns, channels × temporal × patch²]``, and ``[1, rows, columns]``.
        """
        height, width = smart_resize(
            num_frames=self.temporal_patch_size,
            height=image.height,
            width=image.width,
            temporal_factor=self.temporal_patch_size,
            factor=self.patch_size * self.merge_size,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
        )
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling(self.resample))
        return self.patchify([image.convert("RGB")] * self.temporal_patch_size)

    def patchify(self, frames: Sequence[Image.Image]) -> tuple[torch.Tensor, list[int]]:
        """Split frames into patches.

        The order is that of transformers' ``Glm4vVideoProcessor.patchify``, which a test compares: patches that are
        merged into one token are adjacent.

        Args:
            frames: a multiple of ``temporal_patch_size`` RGB frames of one size; each side is a multiple of
                ``patch_size × merge_size`` pixels.

        Returns:
            Patches ``[pairs × rows × columns, channels × temporal × patch²]``, and ``[pairs, rows, columns]``.
        """
        side, merge, temporal = self.patch_size, self.merge_size, self.temporal_patch_size
        grid = [len(frames) // temporal, frames[0].height // side, frames[0].width // side]
        pairs, rows, columns = grid
        blocks = (rows // merge, merge, side, columns // merge, merge, side)
        size = (pairs, rows // merge, columns // merge, merge, merge, len(self.bits), temporal, side, side)
        patches = np.empty(size, self.bits[0].dtype)
        for number, frame in enumerate(frames):
            pair, moment = divmod(number, temporal)
            target = patches[pair, ..., moment, :, :]
            if moment and frame is frames[number - 1]:  # an image: all moments are alike
                target[:] = patches[pair, ..., moment - 1, :, :]
                continue
            colors = np.asarray(frame)
            for channel, table in enumerate(self.bits):
                plane = table.take(colors[..., channel]).reshape(blocks)
                # row and column of tokens, row and column within the token, y, x
                target[..., channel, :, :] = plane.transpose(0, 3, 1, 4, 2, 5)
        return torch.from_numpy(patches.reshape(pairs * rows * columns, -1)).view(self.dtype), grid
