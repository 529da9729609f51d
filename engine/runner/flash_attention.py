"""torch's flash attention over sequences of different lengths.

``torch.nn.attention.varlen.varlen_attn`` is the public name of the same kernel, but takes about 0.1 ms more of the host
for each call, which a short prompt or a small image makes 64 times.
"""

import torch


def flash_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    *,
    longest_query: int,
    longest_key: int,
    is_causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend each query to the keys of its sequence.

    Args:
        queries: ``[tokens, heads, head_dim]``, float16 or bfloat16.
        keys, values: ``[kv tokens, kv_heads, head_dim]``.
        query_ends, key_ends: ``[sequences + 1]``, int32: where each sequence ends; the first is 0.
        is_causal: the last query of a sequence attends to all keys, the one before it to all but one.

    Returns:
        The attention, ``[tokens, heads, head_dim]``, and its log-sum-exps, ``[heads, tokens]``.
    """
    attended, total = torch.ops.aten._flash_attention_forward(
        queries, keys, values, query_ends, key_ends, longest_query, longest_key, 0.0, is_causal, False
    )[:2]
    return attended, total
