"""The text model's layers over rows of many sequences, with the paged KV cache. Uses the weights of transformers."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from engine.runner.kv_cache import AttentionShape, KVCache
from engine.runner.torch_ops import DecodeMetadata, PrefillMetadata, TorchOps


class Decoder:
    """Runs all layers. It keeps no state between passes.

    Args:
        model: ``Glm4vForConditionalGeneration``. Its query, key and value weights become views of one matrix, because
            the two small ones would waste a kernel each. ``generate()`` still works.
        cache: keys and values of all layers.
        ops: operations of a layer for this device.
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
        """Return cosines and sines ``[rows, pairs]`` for M-RoPE positions ``[3, rows]`` of time, height and width.

        The three axes alternate in the sections of the frequencies.
        """
        angles = positions[..., None].float() * self._frequencies
        parts = torch.split(angles, self._sections, dim=-1)
        mixed = torch.cat([part[index % 3] for index, part in enumerate(parts)], dim=-1)
        return mixed.cos().to(dtype), mixed.sin().to(dtype)

    def decode(self, hidden: torch.Tensor, positions: torch.Tensor, metadata: DecodeMetadata) -> torch.Tensor:
        """Run a decode pass.

        Args:
            hidden: embeddings, ``[rows, hidden]``.
            positions: ``[rows]``: after the prompt, the three M-RoPE axes are equal.
            metadata: the rows' sequences and cache positions.

        Returns:
            Logits ``[rows, vocab_size]``.
        """
        cos, sin = self.rope_cos_sin(positions.expand(3, -1), hidden.dtype)

        def attend(layer: int, queries: torch.Tensor) -> torch.Tensor:
            return self.ops.decode_attention(queries, self.cache.keys[layer], self.cache.values[layer], metadata)

        return self.logits(self._run_layers(hidden, cos, sin, metadata.slot_mapping, attend))

    def prefill(self, hidden: torch.Tensor, positions: torch.Tensor, metadata: PrefillMetadata) -> torch.Tensor:
        """Run a prefill pass.

        Args:
            hidden: embeddings, ``[tokens, hidden]``.
            positions: ``[3, tokens]``.
            metadata: the chunks and their cache positions.

        Returns:
            Normalized states of all tokens, ``[tokens, hidden]``.
        """
        cos, sin = self.rope_cos_sin(positions, hidden.dtype)

        def attend(layer: int, queries: torch.Tensor) -> torch.Tensor:
            return self.ops.prefill_attention(queries, self.cache.keys[layer], self.cache.values[layer], metadata)

        return self._run_layers(hidden, cos, sin, metadata.slot_mapping, attend)

    def logits(self, normed: torch.Tensor) -> torch.Tensor:
        """Return logits ``[rows, vocab_size]`` of normalized states ``[rows, hidden]``."""
        logits: torch.Tensor = self._head(normed)
        return logits

    def _run_layers(
        self,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        slot_mapping: torch.Tensor,
        attend: Callable[[int, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """All layers and the last norm."""
        ops, eps, shape = self.ops, self._eps, self.shape
        normed = ops.norm(hidden, self._layers[0].input_norm, eps)
        for index, layer in enumerate(self._layers):
            qkv = linear(normed, layer.qkv_weight, layer.qkv_bias)
            keys, values = self.cache.keys[index], self.cache.values[index]
            queries = ops.rope_and_cache(qkv.view(len(qkv), -1, shape.head_dim), cos, sin, slot_mapping, keys, values)
            attended = attend(index, queries).reshape(len(qkv), -1)
            hidden, normed = ops.norm_add_norm(
                hidden, linear(attended, layer.out_weight), layer.post_attention_norm, layer.pre_mlp_norm, eps
            )
            activated = ops.silu_and_mul(linear(normed, layer.gate_up_weight))
            next_norm = self._layers[index + 1].input_norm if index + 1 < len(self._layers) else self._last_norm.weight
            hidden, normed = ops.norm_add_norm(
                hidden, linear(activated, layer.down_weight), layer.post_mlp_norm, next_norm, eps
            )
        return normed


class _Layer:
    """Weights of a decoder layer."""

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
        self.input_norm = layer.input_layernorm.weight
        self.post_attention_norm = layer.post_self_attn_layernorm.weight
        self.pre_mlp_norm = layer.post_attention_layernorm.weight
        self.post_mlp_norm = layer.post_mlp_layernorm.weight
