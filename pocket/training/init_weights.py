"""Initial weights for training.

transformers draws every matrix with a standard deviation of 0.02, which suits widths of thousands. GLM normalizes the
output of each block to 1 per channel, so that embeddings of 0.02 and image features of 0.008 (measured) carry almost no
signal: after ten thousand steps the model produced fluent text but ignored the image. Here both start at 0.7.
"""

import math
from typing import Any

import torch

EMBEDDING_STD = 0.7
"""Standard deviation of a token embedding's channels."""
BLOCK_SCALE = 0.2
"""Initial output scale of a block, per channel."""
POSITION_STD = 0.5
"""Standard deviation of the position embedding's channels; patch embeddings are normalized to 1."""


def init_weights(model: Any) -> None:
    """Initialize the weights of a new model in place from torch's generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                inputs = parameter[0].numel()
                torch.nn.init.normal_(parameter, std=inputs**-0.5)
            elif name.endswith(("post_self_attn_layernorm.weight", "post_mlp_layernorm.weight")):
                parameter.fill_(BLOCK_SCALE)
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
        torch.nn.init.normal_(model.lm_head.weight, std=0.02)
        tower = model.model.visual
        # Gives image features the scale of token embeddings: measured 0.71 per channel.
        tower.merger.down_proj.weight.mul_(3)
        places = tower.embeddings.position_embedding.weight
        places.copy_(POSITION_STD * math.sqrt(2) * _sinusoids(math.isqrt(len(places)), places.shape[1]))


def _sinusoids(side: int, width: int) -> torch.Tensor:
    """Return ``[side², width]``: sines and cosines of row and column, with periods from four images to four cells."""
    quarter = width // 4
    lengths = torch.logspace(math.log10(4 * side), math.log10(4), quarter)
    turns = 2 * math.pi * torch.arange(side)[:, None] / lengths
    line = torch.cat([turns.sin(), turns.cos()], dim=1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
