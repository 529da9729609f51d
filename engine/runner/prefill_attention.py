"""Attention of prompt chunks and large images on a GPU: torch's flash attention, or cuDNN's where it is faster.

cuDNN is about twice as fast on a Hopper card, but builds a plan for each new shape (65 ms), and its causal mask begins
at the first key. So a chunk is split into pieces of few sizes: each piece of queries attends causally to itself and
without a mask to pieces of the keys before it, and the results are joined by their log-sum-exps.
"""

import statistics
from collections.abc import Callable

import torch
import triton

from engine.runner import kernels
from engine.runner.flash_attention import flash_attention
from engine.runner.kv_cache import AttentionShape
from engine.runner.torch_ops import PrefillMetadata, Segments

QUERY_PIECES = (8_192, 2_048, 1_024)
KEY_PIECES = (32_768, 16_384, 8_192, 4_096, 2_048, 1_024)
SMALLEST_PIECE = 1_024
LARGE_SEGMENT = 4_096
"""Patches of an image from which on cuDNN's pieces are faster than one call of flash attention for all images."""
LARGEST_SEGMENT = 24_576
"""Patches of the largest image (6,144 tokens)."""
MAX_ERROR = 0.01
"""Relative difference from flash attention that the trial accepts."""
TRIAL_KEYS = 9_216
TRIAL_ROUNDS = 5


class FlashPrefill:
    """torch's flash attention: all chunks of a pass in one call."""

    name = "fa2"

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, metadata: PrefillMetadata
    ) -> torch.Tensor:
        """Attend each token to its sequence up to itself.

        Args:
            queries: ``[tokens, heads, head_dim]``.
            keys, values: of all tokens of ``metadata.kv_indices``, ``[kv tokens, kv_heads, head_dim]``.
        """
        return flash_attention(
            queries, keys, values, metadata.query_ends, metadata.kv_ends,
            longest_query=metadata.longest_chunk, longest_key=metadata.longest_end, is_causal=True,
        )[0]  # fmt: skip

    def attend_segments(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        """Attend each patch to all patches of its segment: ``[patches, heads, head_dim]`` in and out."""
        longest = max(segments.lengths)
        return flash_attention(
            queries, keys, values, segments.ends, segments.ends,
            longest_query=longest, longest_key=longest, is_causal=False,
        )[0]  # fmt: skip


class CudnnPrefill(FlashPrefill):
    """cuDNN for long chunks and large images, flash attention for all others."""

    name = "cudnn"

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, metadata: PrefillMetadata
    ) -> torch.Tensor:
        if metadata.longest_chunk < SMALLEST_PIECE:
            return super().attend(queries, keys, values, metadata)
        if len(metadata.chunks) == 1 and len(query_pieces(len(queries))) == 1:
            return _piecewise(queries, keys, values, is_causal=True)[0]
        out = torch.empty_like(queries)
        row = key = 0
        for start, end in metadata.chunks:
            rows, own = slice(row, row + end - start), slice(key, key + end)
            self._attend_chunk(queries[rows], keys[own], values[own], start, out[rows])
            row, key = rows.stop, own.stop
        return out

    def attend_segments(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, segments: Segments
    ) -> torch.Tensor:
        if max(segments.lengths) < LARGE_SEGMENT:
            return super().attend_segments(queries, keys, values, segments)
        out = torch.empty(queries.shape, device=queries.device, dtype=queries.dtype)
        first = 0
        for length in segments.lengths:
            own = slice(first, first + length)
            q, k, v = queries[own], keys[own], values[own]
            for row, size in query_pieces(length):
                rows = slice(row, row + size)
                attend = _piecewise if size >= SMALLEST_PIECE and length >= LARGE_SEGMENT else _flash
                out[own][rows] = attend(q[rows], k, v, is_causal=False)[0]
            first = own.stop
        return out

    def _attend_chunk(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int, out: torch.Tensor
    ) -> None:
        for first, size in query_pieces(len(queries)):
            rows, end = slice(first, first + size), start + first + size
            attend = _piecewise if size >= SMALLEST_PIECE else _flash
            out[rows] = attend(queries[rows], keys[:end], values[:end], is_causal=True)[0]


def query_pieces(tokens: int) -> list[tuple[int, int]]:
    """Return the first query and the size of the pieces of a chunk.

    A rest of more than half of the smallest piece becomes a piece that repeats queries of the one before it; a shorter
    one is left to flash attention.
    """
    pieces = []
    first = 0
    for size in QUERY_PIECES:
        while tokens - first >= size:
            pieces.append((first, size))
            first += size
    rest = tokens - first
    if rest > SMALLEST_PIECE // 2 and pieces:
        pieces.append((tokens - SMALLEST_PIECE, SMALLEST_PIECE))
    elif rest:
        pieces.append((first, rest))
    return pieces


def key_pieces(tokens: int) -> list[tuple[int, int]]:
    """Return the first key and the size of the pieces of the keys before a chunk; the last may have any size."""
    pieces = []
    first = 0
    for size in KEY_PIECES:
        while tokens - first >= size:
            pieces.append((first, size))
            first += size
    return [*pieces, (first, tokens - first)] if first < tokens else pieces


def _piecewise(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, is_causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to all keys, of which the last are those of the queries; also return the log-sum-exps."""
    if is_causal:
        past = len(keys) - len(queries)
        pieces = key_pieces(past)
        joined, total = _cudnn(queries, keys[past:], values[past:], is_causal=True)
    else:
        (_, size), *pieces = key_pieces(len(keys))
        joined, total = _cudnn(queries, keys[:size], values[:size], is_causal=False)
    for first, size in pieces:
        part = slice(first, first + size)
        attend = _cudnn if size >= SMALLEST_PIECE else _flash
        other, other_total = attend(queries, keys[part], values[part], is_causal=False)
        count, heads, dim = joined.shape
        kernels.join_attention_kernel[(count, triton.cdiv(heads, 8))](
            joined, total, other, other_total, count, heads, dim, 8, num_warps=4
        )
    return joined, total


def _cudnn(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, is_causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the attention ``[tokens, heads, head_dim]`` and its log-sum-exps ``[heads, tokens]``."""
    parts = (part.transpose(0, 1)[None] for part in (queries, keys, values))
    out, total = torch.ops.aten._scaled_dot_product_cudnn_attention(*parts, None, True, 0.0, is_causal, False)[:2]
    return out[0].transpose(0, 1).contiguous(), total.reshape(queries.shape[1], len(queries))


def _flash(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, is_causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    ends = torch.arange(2, device=queries.device, dtype=torch.int32)
    out, total = flash_attention(
        queries, keys, values, ends * len(queries), ends * len(keys),
        longest_query=len(queries), longest_key=len(keys), is_causal=is_causal,
    )  # fmt: skip
    return out, total.reshape(queries.shape[1], len(queries))


def choose_prefill(
    shape: AttentionShape, dtype: torch.dtype, *, vision_heads: int, vision_head_dim: int
) -> FlashPrefill:
    """Return the attention that is faster on this GPU, by a trial, with all plans built."""
    flash, cudnn = FlashPrefill(), CudnnPrefill()
    if dtype == torch.float32:
        return flash
    device = torch.device("cuda")
    queries = torch.randn(2_048, shape.heads, shape.head_dim, device=device, dtype=dtype)
    keys, values = torch.randn(2, TRIAL_KEYS, shape.kv_heads, shape.head_dim, device=device, dtype=dtype)
    no_indices = torch.zeros(0, device=device, dtype=torch.int64)
    metadata = PrefillMetadata.of([(TRIAL_KEYS - len(queries), TRIAL_KEYS)], no_indices, no_indices)
    trial = (queries, keys, values, metadata)
    try:
        theirs, ours = flash.attend(*trial), cudnn.attend(*trial)
        if float((ours.float() - theirs.float()).norm() / theirs.float().norm()) > MAX_ERROR:
            return flash
        if _median_ms(lambda: cudnn.attend(*trial)) >= _median_ms(lambda: flash.attend(*trial)):
            return flash
        _build_plans(shape, dtype)
        _build_segment_plans(vision_heads, vision_head_dim, dtype)
    except (RuntimeError, NotImplementedError):  # this GPU or this cuDNN has no such kernel
        return flash
    return cudnn


def _build_plans(shape: AttentionShape, dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    queries = torch.randn(max(QUERY_PIECES), shape.heads, shape.head_dim, device=device, dtype=dtype)
    keys, values = torch.randn(2, max(KEY_PIECES), shape.kv_heads, shape.head_dim, device=device, dtype=dtype)
    for size in QUERY_PIECES:
        _cudnn(queries[:size], keys[:size], values[:size], is_causal=True)
        for length in KEY_PIECES:
            _cudnn(queries[:size], keys[:length], values[:length], is_causal=False)
    torch.cuda.synchronize()


def _build_segment_plans(heads: int, dim: int, dtype: torch.dtype) -> None:
    sizes = [size for size in KEY_PIECES if size <= LARGEST_SEGMENT]
    qkv = torch.randn(max(sizes), 3, heads, dim, device="cuda", dtype=dtype)
    for size in QUERY_PIECES:
        for length in sizes:
            _cudnn(qkv[:size, 0], qkv[:length, 1], qkv[:length, 2], is_causal=False)
    torch.cuda.synchronize()


def _median_ms(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(TRIAL_ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(float(begin.elapsed_time(end)))
    return statistics.median(times)
