"""The vision tower's layers over patches of many images and frame pairs. Uses the weights of transformers.

transformers' own pass asks the device for the lengths of the images in each layer, which stops the host from launching
ahead, and attends to each frame pair in a call of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from engine.runner.device import to_device, upload
from engine.runner.torch_ops import Segments, TorchOps

CUBIC = -0.75
"""The parameter of torch's bicubic interpolation."""
Grid = tuple[int, int, int]
"""Frame pairs (1 for an image), and patches in height and width."""


@dataclass
class TowerPass:
    """State of a pass between two layers."""

    hidden: torch.Tensor
    """``[patches, hidden]``."""
    normed: torch.Tensor
    """Input of the next layer."""
    cos: torch.Tensor
    sin: torch.Tensor
    segments: Segments
    next_layer: int = 0


class VisionTower:
    """Runs all layers of the tower; a pass may stop after any layer and continue later.

    Args:
        model: ``Glm4vForConditionalGeneration``. The gate and up weights of a layer become views of one matrix, and the
            kernel of the downsampling is stored in the order of the patches. ``generate()`` still works.
        ops: operations of a layer for this device.
    """

    def __init__(self, model: Any, ops: TorchOps) -> None:
        visual = model.model.visual
        self._visual = visual
        self._ops = ops
        self._device = model.device
        self.merge = int(visual.spatial_merge_size)
        self._eps = float(visual.config.rms_norm_eps)
        self._heads = int(visual.config.num_heads)
        self._layers = [_Layer(block) for block in visual.blocks]
        patches = visual.patch_embed.proj
        self._patch_weight, self._patch_bias = patches.weight.data.flatten(1), patches.bias
        kernel = visual.downsample.weight.data.permute(0, 2, 3, 1).contiguous()
        visual.downsample.weight.data = kernel.permute(0, 3, 1, 2)
        self._merge_weight, self._merge_bias = kernel.flatten(1), visual.downsample.bias
        positions = visual.embeddings.position_embedding.weight.data.float()
        side = int(len(positions) ** 0.5)
        self._positions = positions.view(side, -1)
        """``[side, side × hidden]``: the learned positions of a square image."""

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def patch_elements(self) -> int:
        """Elements of a patch: channels × temporal × patch²."""
        return int(self._patch_weight.shape[1])

    def start(self, pixels: torch.Tensor, grids: Sequence[Grid]) -> TowerPass:
        """Begin a pass.

        Args:
            pixels: ``[patches, channels × temporal × patch²]``, on the device, in the model's dtype.
            grids: of the images and parts of videos that the patches belong to, in their order.
        """
        visual, eps = self._visual, self._eps
        hidden = linear(pixels, self._patch_weight, self._patch_bias)
        hidden = self._ops.norm(hidden, visual.post_conv_layernorm.weight, eps)
        positions = {size: self._position_tables(*size) for size in dict.fromkeys(grid[1:] for grid in grids)}

        def joined(table: int) -> torch.Tensor:
            return torch.cat([positions[rows, columns][table].repeat(pairs, 1) for pairs, rows, columns in grids])

        hidden = hidden + joined(0)
        lengths = [rows * columns for pairs, rows, columns in grids for _ in range(pairs)]
        ends = [0]
        for length in lengths:
            ends.append(ends[-1] + length)
        segments = Segments(lengths, to_device(ends, self._device, torch.int32))
        normed = self._ops.norm(hidden, self._layers[0].norm1, eps)
        return TowerPass(hidden, normed, joined(1), joined(2), segments)

    def advance(self, tower_pass: TowerPass, layers: int) -> None:
        """Run the next layers of a pass."""
        ops, eps, state = self._ops, self._eps, tower_pass
        end = min(state.next_layer + layers, self.num_layers)
        for index in range(state.next_layer, end):
            layer = self._layers[index]
            qkv = linear(state.normed, layer.qkv_weight, layer.qkv_bias)
            rotated = ops.rotate_halves(qkv.view(len(qkv), 3, self._heads, -1), state.cos, state.sin)
            attended = ops.segment_attention(*rotated, state.segments).reshape(len(qkv), -1)
            del qkv, rotated
            hidden, normed = ops.add_norm(state.hidden, linear(attended, layer.out_weight), layer.norm2, eps)
            activated = ops.silu_and_mul(linear(normed, layer.gate_up_weight))
            is_last = index + 1 == self.num_layers
            next_norm = self._visual.post_layernorm.weight if is_last else self._layers[index + 1].norm1
            state.hidden, state.normed = ops.add_norm(hidden, linear(activated, layer.down_weight), next_norm, eps)
        state.next_layer = end

    def finish(self, tower_pass: TowerPass) -> torch.Tensor:
        """Return the embeddings ``[image tokens, hidden]`` of a pass whose layers are done."""
        blocks = tower_pass.normed.view(len(tower_pass.normed) // self.merge**2, -1)
        features: torch.Tensor = self._visual.merger(linear(blocks, self._merge_weight, self._merge_bias))
        return features

    def _position_tables(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the position embedding, and the rotary cosines and sines, of the patches of one image.

        Patches that are merged into one token are neighbours.
        """
        device, merge = self._device, self.merge
        blocks = (rows // merge, merge, columns // merge, merge)
        grid = torch.arange(rows * columns, device=device).view(blocks).transpose(1, 2).flatten()
        y, x = grid // columns, grid % columns
        side = len(self._positions)
        down, across = (upload(bicubic_weights(length, side), device) for length in (rows, columns))
        resized = across @ (down @ self._positions).view(rows, side, -1)
        embedding = resized.view(*blocks, -1).transpose(1, 2).flatten(0, 3).to(self._visual.dtype)
        frequencies = self._visual.rotary_pos_emb.inv_freq.float()
        angles = torch.cat((y[:, None] * frequencies, x[:, None] * frequencies), dim=-1)
        return embedding, angles.cos(), angles.sin()


def bicubic_weights(length: int, source: int) -> torch.Tensor:
    """Return the matrix ``[length, source]``, float32, that resizes one axis as ``grid_sample`` does.

    An image's patches are a grid, so both axes are resized one after the other, by a small matrix product each;
    ``grid_sample`` looks up each patch alone and took 2.8 ms for an image.
    """
    at = (torch.arange(length, dtype=torch.float64) + 0.5) * source / length - 0.5
    first = at.floor()
    weights = torch.zeros(length, source, dtype=torch.float64)
    for tap in range(-1, 3):
        distance = (at - first - tap).abs()
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
        column = (first + tap).long().clamp(0, source - 1)  # the border repeats
        weights.scatter_add_(1, column[:, None], torch.where(distance <= 1, near, far)[:, None])
    return weights.float()


class _Layer:
    """Weights of a block of the tower."""

    def __init__(self, block: Any) -> None:
        gate, up = block.mlp.gate_proj, block.mlp.up_proj
        self.gate_up_weight = torch.cat([gate.weight.data, up.weight.data])
        gate.weight.data, up.weight.data = self.gate_up_weight.chunk(2)
        self.down_weight = block.mlp.down_proj.weight
        self.qkv_weight, self.qkv_bias = block.attn.qkv.weight, block.attn.qkv.bias
        self.out_weight = block.attn.proj.weight
        self.norm1, self.norm2 = block.norm1.weight, block.norm2.weight
