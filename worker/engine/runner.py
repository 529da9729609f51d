"""The only caller of the model: prefill and decode of one sequence, with a KV cache of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from worker.engine.inputs import ModelInputs

VISION = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
"""Of ModelInputs, under the model's own names."""


@dataclass
class SequenceCache:
    keys_and_values: Any
    delta: int
    """M-RoPE: a token's position is its place plus this. The model's own ``rope_deltas`` is one for all callers."""

    @property
    def length(self) -> int:
        return int(self.keys_and_values.get_seq_length())


class Runner:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.device
        self.prefills = 0
        """Passes over prompts, and over pictures, since the start."""
        self.vision_passes = 0

    @torch.inference_mode()
    def prefill(self, inputs: ModelInputs, behind: Sequence[int]) -> tuple[SequenceCache, torch.Tensor]:
        """Read a prompt and the tokens behind it in one pass.

        Returns:
            The new cache, and the logits ``[vocabulary]`` of what comes next.
        """
        tokens = torch.cat([inputs.input_ids, torch.tensor(list(behind), dtype=torch.int64)])
        positions, delta = self._positions(inputs, len(behind))
        cache = SequenceCache(DynamicCache(config=self._model.config), delta)
        vision = {name: value.to(self._device) for name in VISION if (value := getattr(inputs, name)) is not None}
        self.vision_passes += bool(vision)
        self.prefills += 1
        return cache, self._forward(tokens, positions, cache, **vision)

    @torch.inference_mode()
    def decode(self, cache: SequenceCache, tokens: Sequence[int]) -> torch.Tensor:
        """Read a few more tokens in one pass; returns the logits ``[vocabulary]`` of what comes next."""
        first = cache.length + cache.delta
        positions = torch.arange(first, first + len(tokens)).expand(3, 1, -1)
        return self._forward(torch.tensor(list(tokens)), positions, cache)

    def _forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: SequenceCache, **vision: torch.Tensor
    ) -> torch.Tensor:
        output = self._model(
            input_ids=tokens[None].to(self._device),
            position_ids=positions.to(self._device),
            past_key_values=cache.keys_and_values,
            use_cache=True,
            logits_to_keep=1,
            **vision,
        )
        logits: torch.Tensor = output.logits[0, -1]
        return logits

    def _positions(self, inputs: ModelInputs, behind: int) -> tuple[torch.Tensor, int]:
        """M-RoPE positions ``[3, 1, length + behind]`` and the delta of what follows."""
        length = len(inputs)
        if inputs.image_grid_thw is None and inputs.video_grid_thw is None:
            return torch.arange(length + behind).expand(3, 1, -1), 0
        positions, deltas = self._model.model.get_rope_index(
            inputs.input_ids[None],
            mm_token_type_ids=inputs.token_types[None],
            image_grid_thw=inputs.image_grid_thw,
            video_grid_thw=inputs.video_grid_thw,
        )
        delta = int(deltas[0, 0])
        more = torch.arange(length + delta, length + delta + behind).expand(3, 1, -1)
        return torch.cat([positions, more], dim=-1), delta
