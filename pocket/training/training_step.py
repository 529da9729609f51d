"""One pass of the model over a batch: the published modules, called so that pictures of one size go through together.

transformers' vision attention walks over the pictures one by one, and its ``forward`` asks the device for their sizes;
for a model this small that is most of the time. A test compares the two.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.glm4v.modeling_glm4v import Glm4vRMSNorm

from pocket.tasks import aux_targets
from pocket.training.batches import NOTHING, Batch

ALIKE = "pictures_alike"
TELLING = "telling."
"""Begins the names of parameters that are not the model's."""
TOGETHER = {"pictures": 1}
"""How many pictures the vision attention finds in its one long sequence."""


def _attend(
    _module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float, **_rest: Any
) -> tuple[torch.Tensor, None]:
    """Each of ``[1, heads, pictures × patches, width]`` as so many pictures that see only themselves."""
    _, heads, _, width = query.shape

    def apart(states: torch.Tensor) -> torch.Tensor:
        return states.view(heads, TOGETHER["pictures"], -1, width).transpose(0, 1)

    seen = functional.scaled_dot_product_attention(apart(query), apart(key), apart(value), scale=scaling)
    return seen.permute(0, 2, 1, 3).reshape(1, -1, heads, width), None


AttentionInterface.register(ALIKE, _attend)


def _normed(norm: Any, states: torch.Tensor) -> torch.Tensor:
    """The same norm as one kernel, in the precision that comes in; eight passes in float32 took most of a step."""
    with torch.autocast(states.device.type, enabled=False):
        return functional.rms_norm(states, states.shape[-1:], norm.weight.to(states.dtype), norm.variance_epsilon)


SEEING = 0.5
"""What telling what lies where counts beside a token of what is said, while a model begins to see."""


@dataclass(frozen=True)
class Judged:
    """Of one batch; all on the device."""

    loss: torch.Tensor
    """To be made small: what is said, and what is seen."""
    special_tokens: torch.Tensor
    """As ``MARKS`` names them."""
    faults: torch.Tensor
    """``[examples]``: tokens of its answer that were foretold wrongly, the thought given."""


MARKS = ("loss", "unseen", "seen", "thought")
"""Nats a token of what is said; the same of what is seen (``aux_targets.judge``); share of middles seen rightly;
share of
tokens of thoughts foretold rightly."""


class Learner:
    """A model on its device, and what of it is asked while learning. Nothing in a pass waits for the device, nor brings
    it anything but the batch, so that a pass can be recorded (``pocket/training/cuda_graph_step.py``).
    """

    def __init__(self, model: Any, *, seeing: float = SEEING) -> None:
        """Args: ``seeing``: how much telling what lies where counts beside a token of what is said."""
        self.model = model
        self._seeing = seeing
        width = model.config.vision_config.out_hidden_size
        self.telling = torch.nn.Linear(width, sum(aux_targets.WIDTHS)).to(model.device)
        """Tells what lies in a picture's cell, from its token. Thrown away in the end."""
        # Flash attention only: one run of five hundred seconds was lost to a NaN with cuDNN's in the choice.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.device: torch.device = model.device
        model.model.visual.config._attn_implementation = ALIKE
        for module in model.modules():
            if isinstance(module, Glm4vRMSNorm):
                module.forward = partial(_normed, module)
        mean, std = (torch.tensor(getattr(Glm4vImageProcessorPil, name)) for name in ("image_mean", "image_std"))
        self._mean, self._std = mean.to(self.device), std.to(self.device)
        self._words = torch.arange(model.config.text_config.vocab_size, device=self.device)
        self._places = lru_cache(256)(self._new_places)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Those that learn."""
        told = self.telling.named_parameters() if self._seeing else ()
        return dict(self.model.named_parameters()) | {f"{TELLING}{name}": parameter for name, parameter in told}

    def judge(self, batch: Batch) -> Judged:
        features = self.look(batch.frames) if len(batch.frames) else None
        logits = self.logits(batch, features).float()
        is_target = batch.targets >= 0
        said = functional.cross_entropy(logits, batch.targets, ignore_index=NOTHING, reduction="sum") / is_target.sum()
        unseen, seen = said.new_zeros(()), said.new_zeros(())
        if features is not None and self._seeing:
            unseen, seen = aux_targets.judge(self.telling(features), batch.spots)
        with torch.no_grad():
            right = logits.argmax(-1) == batch.targets
            wrong = (~right & batch.answering).float()
            faults = torch.zeros(len(batch.ids), device=self.device).index_add_(0, batch.rows, wrong)
            thinking = is_target & ~batch.answering
            thought = (right & thinking).sum() / thinking.sum()
            special_tokens = torch.stack([said, unseen, seen, thought])
        return Judged(said + self._seeing * unseen, special_tokens, faults)

    def logits(self, batch: Batch, features: torch.Tensor | None) -> torch.Tensor:
        """``[tokens, vocabulary]``: what it holds likely at the places before the batch's targets.

        Args:
            features: of the batch's frames.
        """
        words = self.model.model.language_model
        states = self._embedded(batch.ids)
        if features is not None:
            shown = features.index_select(0, batch.looks.flatten()).flatten(0, 1).to(states.dtype)
            states = states.flatten(0, 1).index_copy(0, batch.pictures, shown).view(states.shape)
        turns = words.rotary_emb(states, batch.positions)
        for layer in words.layers:
            states = layer(states, position_embeddings=turns, attention_mask=None)
        states = words.norm(states)
        logits: torch.Tensor = self.model.lm_head(states.flatten(0, 1).index_select(0, batch.before))
        return logits

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """A product with ones and zeros: the gradient of a look-up sorts, and on a GPU waits for it."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        if self.device.type == "cpu":
            return functional.embedding(ids, weight)
        return (ids[..., None] == self._words).to(torch.bfloat16) @ weight.to(torch.bfloat16)

    def place_of(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What follows from the size of the frames alone; made before a recording, and kept."""
        return self._places(frames.shape[2] // 14, frames.shape[3] // 14)

    def look(self, frames: torch.Tensor) -> torch.Tensor:
        """Features ``[pairs, tokens, width]`` of frames ``[pairs, 1 or 2, height, width, 3]``, uint8."""
        tower = self.model.model.visual
        pairs = len(frames)
        y, x, grid, length, cosines, sines = self.place_of(frames)
        patches = _patches(((frames / 255) - self._mean) / self._std)
        if self.device.type == "cuda":
            patches = patches.bfloat16()
        # A convolution whose kernel meets each patch once is a matrix product.
        first = tower.patch_embed.proj
        states = tower.post_conv_layernorm(functional.linear(patches, first.weight.flatten(1), first.bias))
        states = states + tower.embeddings(torch.zeros(len(y), 1, device=self.device), length, grid, y, x)
        states = states.flatten(0, 1)
        turns = cosines.repeat(pairs, 1), sines.repeat(pairs, 1)
        TOGETHER["pictures"] = pairs
        for block in tower.blocks:
            states = block(states, cu_seqlens=torch.tensor([0, len(states)]), position_embeddings=turns)
        states = tower.post_layernorm(states).view(pairs, -1, 4 * states.shape[-1])
        merge = tower.downsample
        merged = functional.linear(states, merge.weight.permute(0, 2, 3, 1).flatten(1), merge.bias)
        features: torch.Tensor = tower.merger(merged)
        return features

    def _new_places(self, rows: int, columns: int) -> tuple[torch.Tensor, ...]:
        """Row and column of each patch, those that merge into one token together; their grid; turns of one picture."""
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        y, x = (values.reshape(rows // 2, 2, columns // 2, 2).transpose(1, 2).flatten() for values in (y, x))
        places = torch.stack([y, x], dim=1).to(self.device)
        grid = torch.tensor([[1, rows, columns]], device=self.device)
        length = torch.tensor([rows * columns], device=self.device)
        turns = self.model.model.visual.rotary_pos_emb(torch.zeros(1, device=self.device), places)
        return places[:, 0], places[:, 1], grid, length, *turns


def _patches(pixels: torch.Tensor) -> torch.Tensor:
    """``[pairs, patches, 3 × 2 × 14²]`` of ``[pairs, 1 or 2, height, width, 3]``, in the processor's order."""
    pairs, count, height, width, _ = pixels.shape
    blocks = pixels.reshape(pairs, count, height // 28, 2, 14, width // 28, 2, 14, 3)
    blocks = blocks.expand(pairs, 2, *blocks.shape[2:])
    return blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(pairs, (height // 14) * (width // 14), -1)
