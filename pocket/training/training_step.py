"""Forward pass and loss of a batch, with the published modules, but all images of a batch in one attention call.

transformers' vision attention loops over the images and synchronizes with the device for their sizes, which takes
most of the time for a model this small. A test compares both.
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
from pocket.training.batches import IGNORE_INDEX, Batch

SAME_SIZE_ATTENTION = "pictures_alike"
AUX_HEAD_PREFIX = "aux_head."
"""Prefix of the parameters that are not part of the model."""
TOGETHER = {"pictures": 1}
"""Number of images in the sequence of the vision attention. Global, because transformers calls the registered attention
function without further arguments."""


def _attend(
    _module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, scaling: float, **_rest: Any
) -> tuple[torch.Tensor, None]:
    """Attend within each image of ``[1, heads, images × patches, width]``."""
    _, heads, _, width = query.shape

    def apart(states: torch.Tensor) -> torch.Tensor:
        return states.view(heads, TOGETHER["pictures"], -1, width).transpose(0, 1)

    seen = functional.scaled_dot_product_attention(apart(query), apart(key), apart(value), scale=scaling)
    return seen.permute(0, 2, 1, 3).reshape(1, -1, heads, width), None


AttentionInterface.register(SAME_SIZE_ATTENTION, _attend)


def _normed(norm: Any, states: torch.Tensor) -> torch.Tensor:
    """Apply the norm as one kernel in the input's precision. The original's eight took most of a step."""
    with torch.autocast(states.device.type, enabled=False):
        return functional.rms_norm(states, states.shape[-1:], norm.weight.to(states.dtype), norm.variance_epsilon)


AUX_WEIGHT = 0.5
"""Weight of the auxiliary loss against the text loss per token."""


@dataclass(frozen=True)
class StepOutput:
    """Results of one batch, on the device."""

    loss: torch.Tensor
    """Text loss plus weighted auxiliary loss."""
    metrics: torch.Tensor
    """In the order of ``METRICS``."""
    num_wrong: torch.Tensor
    """``[examples]``: number of answer tokens predicted incorrectly, given the thought."""


METRICS = ("loss", "aux_loss", "aux_accuracy", "thought_accuracy")
"""Text loss in nats per token; auxiliary loss; share of object centers predicted correctly; share of thought tokens
predicted correctly."""


class LossModule:
    """The model with its auxiliary head and losses.

    A pass neither synchronizes with the device nor copies anything but the batch, so that it can be captured
    (``pocket/training/cuda_graph_step.py``).
    """

    def __init__(self, model: Any, *, aux_weight: float = AUX_WEIGHT) -> None:
        """Args:
        aux_weight: weight of the auxiliary loss; 0 trains no auxiliary head.
        """
        self.model = model
        self._aux_weight = aux_weight
        width = model.config.vision_config.out_hidden_size
        self.aux_head = torch.nn.Linear(width, sum(aux_targets.HEAD_WIDTHS)).to(model.device)
        """Predicts what a cell of an image shows, from its token. Not published."""
        # cuDNN's attention is disabled: one run of five hundred seconds ended in NaN with it.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.device: torch.device = model.device
        model.model.visual.config._attn_implementation = SAME_SIZE_ATTENTION
        for module in model.modules():
            if isinstance(module, Glm4vRMSNorm):
                module.forward = partial(_normed, module)
        mean, std = (torch.tensor(getattr(Glm4vImageProcessorPil, name)) for name in ("image_mean", "image_std"))
        self._mean, self._std = mean.to(self.device), std.to(self.device)
        self._vocab_ids = torch.arange(model.config.text_config.vocab_size, device=self.device)
        self._cached_positions = lru_cache(256)(self._position_inputs)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the trainable parameters by name."""
        aux_parameters = self.aux_head.named_parameters() if self._aux_weight else ()
        return dict(self.model.named_parameters()) | {
            f"{AUX_HEAD_PREFIX}{name}": parameter for name, parameter in aux_parameters
        }

    def compute_loss(self, batch: Batch) -> StepOutput:
        features = self.encode_frames(batch.frames) if len(batch.frames) else None
        logits = self.logits(batch, features).float()
        is_target = batch.targets >= 0
        said = (
            functional.cross_entropy(logits, batch.targets, ignore_index=IGNORE_INDEX, reduction="sum")
            / is_target.sum()
        )
        aux_loss, seen = said.new_zeros(()), said.new_zeros(())
        if features is not None and self._aux_weight:
            aux_loss, seen = aux_targets.aux_loss(self.aux_head(features), batch.aux_targets)
        with torch.no_grad():
            right = logits.argmax(-1) == batch.targets
            wrong = (~right & batch.is_answer).float()
            num_wrong = torch.zeros(len(batch.ids), device=self.device).index_add_(0, batch.example_index, wrong)
            thinking = is_target & ~batch.is_answer
            thought = (right & thinking).sum() / thinking.sum()
            metrics = torch.stack([said, aux_loss, seen, thought])
        return StepOutput(said + self._aux_weight * aux_loss, metrics, num_wrong)

    def logits(self, batch: Batch, features: torch.Tensor | None) -> torch.Tensor:
        """Return logits ``[tokens, vocabulary]`` for the batch's targets.

        Args:
            features: of the batch's frames; None without images.
        """
        words = self.model.model.language_model
        states = self._embed(batch.ids)
        if features is not None:
            shown = features.index_select(0, batch.pair_index.flatten()).flatten(0, 1).to(states.dtype)
            states = states.flatten(0, 1).index_copy(0, batch.images, shown).view(states.shape)
        turns = words.rotary_emb(states, batch.positions)
        for layer in words.layers:
            states = layer(states, position_embeddings=turns, attention_mask=None)
        states = words.norm(states)
        logits: torch.Tensor = self.model.lm_head(states.flatten(0, 1).index_select(0, batch.source_positions))
        return logits

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embed through a one-hot product on a GPU: the gradient of a lookup sorts and synchronizes there."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        if self.device.type == "cpu":
            return functional.embedding(ids, weight)
        return (ids[..., None] == self._vocab_ids).to(torch.bfloat16) @ weight.to(torch.bfloat16)

    def position_inputs(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the inputs that depend on the frame size only. They are cached and created before a capture."""
        return self._cached_positions(frames.shape[2] // 14, frames.shape[3] // 14)

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Return features ``[pairs, tokens, width]`` of frames ``[pairs, 1 or 2, height, width, 3]``, uint8."""
        tower = self.model.model.visual
        pairs = len(frames)
        y, x, grid, length, cosines, sines = self.position_inputs(frames)
        patches = _patches(((frames / 255) - self._mean) / self._std)
        if self.device.type == "cuda":
            patches = patches.bfloat16()
        # The convolution covers each patch once, so it is a matrix product.
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

    def _position_inputs(self, example_index: int, columns: int) -> tuple[torch.Tensor, ...]:
        """Return row and column of each patch, ordered by merged token, the grid, the length, and cosines and sines."""
        y, x = torch.meshgrid(torch.arange(example_index), torch.arange(columns), indexing="ij")
        y, x = (values.reshape(example_index // 2, 2, columns // 2, 2).transpose(1, 2).flatten() for values in (y, x))
        places = torch.stack([y, x], dim=1).to(self.device)
        grid = torch.tensor([[1, example_index, columns]], device=self.device)
        length = torch.tensor([example_index * columns], device=self.device)
        turns = self.model.model.visual.rotary_pos_emb(torch.zeros(1, device=self.device), places)
        return places[:, 0], places[:, 1], grid, length, *turns


def _patches(pixels: torch.Tensor) -> torch.Tensor:
    """Return ``[pairs, patches, 3 × 2 × 14²]`` of ``[pairs, 1 or 2, height, width, 3]`` in the processor's order."""
    pairs, count, height, width, _ = pixels.shape
    blocks = pixels.reshape(pairs, count, height // 28, 2, 14, width // 28, 2, 14, 3)
    blocks = blocks.expand(pairs, 2, *blocks.shape[2:])
    return blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(pairs, (height // 14) * (width // 14), -1)
