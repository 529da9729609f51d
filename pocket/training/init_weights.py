"""The weights that learning begins with.

transformers draws every matrix at a deviation of 0.02, which suits widths of thousands. GLM norms what each block adds
to the stream to a length of 1 a channel: beside that a word of 0.02 or a look at a picture of 0.008 (measured) is
nowhere to be heard, and after ten thousand steps the model spoke well and did not see. Here both enter at 0.7.
"""

import math
from typing import Any

import torch

WORD = 0.7
"""Deviation of a word's channels as they enter the stream."""
BLOCK = 0.2
"""What a block adds at first, a channel."""
PLACE = 0.5
"""Deviation of the places' channels beside a patch's, which are normed to 1."""


def begin(model: Any) -> None:
    """Redraw the weights of a new model, in place, from torch's generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                inputs = parameter[0].numel()
                torch.nn.init.normal_(parameter, std=inputs**-0.5)
            elif name.endswith(("post_self_attn_layernorm.weight", "post_mlp_layernorm.weight")):
                parameter.fill_(BLOCK)
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=WORD)
        torch.nn.init.normal_(model.lm_head.weight, std=0.02)
        tower = model.model.visual
        # So that features come as loud as words: measured 0.71 a channel.
        tower.merger.down_proj.weight.mul_(3)
        places = tower.embeddings.position_embedding.weight
        places.copy_(PLACE * math.sqrt(2) * _waves(math.isqrt(len(places)), places.shape[1]))


def _waves(side: int, width: int) -> torch.Tensor:
    """``[side², width]``: sines and cosines of row and column, from one wave in four pictures to one in four cells."""
    quarter = width // 4
    lengths = torch.logspace(math.log10(4 * side), math.log10(4), quarter)
    turns = 2 * math.pi * torch.arange(side)[:, None] / lengths
    line = torch.cat([turns.sin(), turns.cos()], dim=1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
