"""The text model, run on rows of many sequences through our own KV cache. Its weights are transformers' modules."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from engine.runner.kv_cache import AttentionShape, KVCache
from engine.runner.torch_ops import Chunk, Rows, TorchOps


class Decoder:
    """Keeps no state between passes.

    Args:
        model: ``Glm4vForConditionalGeneration``; its query, key and value weights become views of one matrix, because
            the two small ones waste a kernel each otherwise. ``generate()`` goes on working.
    """

    def __init__(self, model: Any, cache: KVCache, ops: TorchOps) -> None:
        text = model.model.language_model
        self.shape = AttentionShape.of(text.config)
        self.cache = cache
        self.ops = ops
        self.embed = text.embed_tokens
        self._layers = [_Layer(layer) for layer in text.layers]
        self._last_norm, self._head = text.norm, model.lm_head
        self._eps = float(text.config.rms_norm_eps)
        self._frequencies = text.rotary_emb.inv_freq
        self._sections = list(text.config.rope_parameters["mrope_section"])

    def rope_cos_sin(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines ``[rows, pairs]`` of M-RoPE positions ``[3, rows]``: time, height and width take turns."""
        angles = positions[..., None].float() * self._frequencies
        parts = torch.split(angles, self._sections, dim=-1)
        mixed = torch.cat([part[index % 3] for index, part in enumerate(parts)], dim=-1)
        return mixed.cos().to(dtype), mixed.sin().to(dtype)

    def decode(self, hidden: torch.Tensor, positions: torch.Tensor, rows: Rows) -> torch.Tensor:
        """A decode pass.

        Args:
            hidden: embeddings, ``[rows, hidden]``.
            positions: ``[rows]``: behind the prompt, time, height and width are one.

        Returns:
            Logits ``[rows, vocab_size]``.
        """
        cos, sin = self.rope_cos_sin(positions.expand(3, -1), hidden.dtype)

        def attend(layer: int, queries: torch.Tensor) -> torch.Tensor:
            return self.ops.attend_rows(queries, self.cache.keys[layer], self.cache.values[layer], rows)

        return self.logits(self._through(hidden, cos, sin, rows.places, attend))

    def prefill(self, hidden: torch.Tensor, positions: torch.Tensor, chunk: Chunk) -> torch.Tensor:
        """A prefill pass; ``positions`` are ``[3, tokens]``. Returns the last token's state, ``[1, hidden]``."""
        cos, sin = self.rope_cos_sin(positions, hidden.dtype)

        def attend(layer: int, queries: torch.Tensor) -> torch.Tensor:
            return self.ops.attend_chunk(queries, self.cache.keys[layer], self.cache.values[layer], chunk)

        return self._through(hidden, cos, sin, chunk.places, attend)[-1:]

    def logits(self, normed: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self._head(normed)
        return scores

    def _through(
        self,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        places: torch.Tensor,
        attend: Callable[[int, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """All layers and the last norm."""
        ops, eps, shape = self.ops, self._eps, self.shape
        normed = ops.norm(hidden, self._layers[0].first_norm, eps)
        for index, layer in enumerate(self._layers):
            qkv = linear(normed, layer.qkv_weight, layer.qkv_bias)
            keys, values = self.cache.keys[index], self.cache.values[index]
            queries = ops.rotate_and_store(qkv.view(len(qkv), -1, shape.head_dim), cos, sin, places, keys, values)
            attended = attend(index, queries).reshape(len(qkv), -1)
            hidden, normed = ops.norm_add_norm(
                hidden, linear(attended, layer.out_weight), layer.attention_norm, layer.mlp_norm, eps
            )
            grown = ops.gate(linear(normed, layer.gate_up_weight))
            following = self._layers[index + 1].first_norm if index + 1 < len(self._layers) else self._last_norm.weight
            hidden, normed = ops.norm_add_norm(
                hidden, linear(grown, layer.down_weight), layer.last_norm, following, eps
            )
        return normed


class _Layer:
    """A decoder layer's weights by what they do here."""

    def __init__(self, layer: Any) -> None:
        attention = layer.self_attn
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        self.qkv_weight = torch.cat([part.weight.data for part in parts])
        self.qkv_bias = torch.cat([part.bias.data for part in parts])
        sizes = [len(part.weight) for part in parts]
        weights, biases = torch.split(self.qkv_weight, sizes), torch.split(self.qkv_bias, sizes)
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            part.weight.data, part.bias.data = weight, bias
        self.out_weight = attention.o_proj.weight
        self.gate_up_weight = layer.mlp.gate_up_proj.weight
        self.down_weight = layer.mlp.down_proj.weight
        self.first_norm = layer.input_layernorm.weight
        self.attention_norm = layer.post_self_attn_layernorm.weight
        self.mlp_norm = layer.post_attention_layernorm.weight
        self.last_norm = layer.post_mlp_layernorm.weight
