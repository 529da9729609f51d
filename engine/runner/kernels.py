"""Triton kernels of the decode pass, and of the vision tower.

A pass over few rows is limited by kernel launches, so all work between two matrix products is one kernel. Attention
reads each key once for all queries that share it, and reads no padding.
"""

import triton
import triton.language as tl


@triton.jit
def rms_norm_kernel(hidden, weight, out, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """RMS norm; one program per row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, PADDED)
    inside = at < WIDTH
    x = tl.load(hidden + row * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    normed = (x * tl.rsqrt(tl.sum(x * x, axis=0) / WIDTH + eps)).to(out.dtype.element_ty)
    scaled = normed * tl.load(weight + at, mask=inside, other=0.0)
    tl.store(out + row * WIDTH + at, scaled, mask=inside)


@triton.jit
def norm_add_norm_kernel(
    residual, added, inner, outer, new_residual, out, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr
):
    """``new_residual = residual + norm(added)``, ``out = norm(new_residual)``; one program per row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, PADDED)
    inside = at < WIDTH
    x = tl.load(added + row * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    normed = (x * tl.rsqrt(tl.sum(x * x, axis=0) / WIDTH + eps)).to(out.dtype.element_ty)
    normed = normed * tl.load(inner + at, mask=inside, other=0.0)
    total = tl.load(residual + row * WIDTH + at, mask=inside, other=0.0) + normed
    tl.store(new_residual + row * WIDTH + at, total, mask=inside)
    y = total.to(tl.float32)
    normed_sum = (y * tl.rsqrt(tl.sum(y * y, axis=0) / WIDTH + eps)).to(out.dtype.element_ty)
    tl.store(out + row * WIDTH + at, normed_sum * tl.load(outer + at, mask=inside, other=0.0), mask=inside)


@triton.jit
def add_norm_kernel(residual, added, weight, new_residual, out, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """``new_residual = residual + added``, ``out = norm(new_residual)``; one program per row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, PADDED)
    inside = at < WIDTH
    total = tl.load(residual + row * WIDTH + at, mask=inside, other=0.0) + tl.load(
        added + row * WIDTH + at, mask=inside, other=0.0
    )
    tl.store(new_residual + row * WIDTH + at, total, mask=inside)
    x = total.to(tl.float32)
    normed = (x * tl.rsqrt(tl.sum(x * x, axis=0) / WIDTH + eps)).to(out.dtype.element_ty)
    tl.store(out + row * WIDTH + at, normed * tl.load(weight + at, mask=inside, other=0.0), mask=inside)


@triton.jit
def rotate_halves_kernel(
    qkv, cos, sin, ROTATED: tl.constexpr, PADDED: tl.constexpr, HALF: tl.constexpr, PADDED_HALF: tl.constexpr,
    ROW: tl.constexpr,
):  # fmt: skip
    """Rotate the queries and keys of a patch in place; one program per patch."""
    row = tl.program_id(0).to(tl.int64)
    head, at = tl.arange(0, PADDED)[:, None], tl.arange(0, PADDED_HALF)[None, :]
    inside = (head < ROTATED) & (at < HALF)
    first = qkv + row * ROW + head * 2 * HALF + at
    a = tl.load(first, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(first + HALF, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(cos + row * HALF + at, mask=at < HALF, other=0.0)
    s = tl.load(sin + row * HALF + at, mask=at < HALF, other=0.0)
    tl.store(first, (a * c - b * s).to(qkv.dtype.element_ty), mask=inside)
    tl.store(first + HALF, (b * c + a * s).to(qkv.dtype.element_ty), mask=inside)


@triton.jit
def silu_and_mul_kernel(gate_and_up, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """``silu(gate) · up``; one program per part of a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < WIDTH
    gate = tl.load(gate_and_up + row * 2 * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_and_up + row * 2 * WIDTH + WIDTH + at, mask=inside, other=0.0)
    activated = (gate * tl.sigmoid(gate)).to(out.dtype.element_ty)
    tl.store(out + row * WIDTH + at, activated * up, mask=inside)


@triton.jit
def rope_and_cache_kernel(
    qkv, cos, sin, slot_mapping, queries, keys, values, head_positions,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PAIRS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rotate queries and keys, and write keys and values to the cache; one program per ``BLOCK`` heads of a row."""
    row = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[:, None]
    at = tl.arange(0, DIM)[None, :]
    inside = head < HEADS + 2 * KV_HEADS
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * DIM
    x = tl.load(source + at, mask=inside, other=0.0)
    is_rotary = (at < 2 * PAIRS) & (head < HEADS + KV_HEADS)
    partner = tl.load(source + (at ^ 1), mask=is_rotary, other=0.0).to(tl.float32)
    c = tl.load(cos + row * PAIRS + at // 2, mask=at < 2 * PAIRS, other=1.0).to(tl.float32)
    s = tl.load(sin + row * PAIRS + at // 2, mask=at < 2 * PAIRS, other=0.0).to(tl.float32)
    # even · cos - odd · sin, odd · cos + even · sin
    signed = tl.where(at % 2 == 0, -partner, partner)
    rotated = tl.where(is_rotary, x.to(tl.float32) * c + signed * s, x.to(tl.float32)).to(x.dtype)
    position = tl.load(slot_mapping + row)
    is_query, is_key = head < HEADS, (head >= HEADS) & (head < HEADS + KV_HEADS)
    tl.store(queries + (row * HEADS + head) * DIM + at, rotated, mask=is_query)
    key = ((head - HEADS) * head_positions + position) * DIM + at
    tl.store(keys + key, rotated, mask=is_key)
    value = ((head - HEADS - KV_HEADS) * head_positions + position) * DIM + at
    tl.store(values + value, rotated, mask=inside & (head >= HEADS + KV_HEADS))


@triton.jit
def decode_attention_kernel(
    queries, keys, values, block_tables, slots, seq_lens, out, partial, maxima, sums, scale_log2, table_width,
    head_positions,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr,
    BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Flash decoding: one program per split of a row's keys of one key head, for all queries that share it.

    The size of a split follows from the row's own length, so a captured launch serves every length.
    """
    row, kv_head, split = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64), tl.program_id(2)
    length, slot = tl.load(seq_lens + row), tl.load(slots + row)
    group, dim, token = tl.arange(0, PADDED), tl.arange(0, DIM), tl.arange(0, BLOCK)
    head = kv_head * GROUP + group
    is_head = (group < GROUP)[:, None]
    query = tl.load(queries + ((row * KV_HEADS * GROUP + head) * DIM)[:, None] + dim[None, :], mask=is_head, other=0.0)
    blocks = tl.cdiv(length, BLOCK)
    share = tl.cdiv(blocks, SPLITS)
    first = split * share
    last = tl.minimum(first + share, blocks)
    maximum = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    accumulated = tl.zeros([PADDED, DIM], tl.float32)
    base = kv_head * head_positions
    for number in range(first, last):
        block = tl.load(block_tables + slot * table_width + number).to(tl.int64)
        start = (base + block * BLOCK) * DIM
        key = tl.load(keys + start + token[None, :] * DIM + dim[:, None])
        scores = tl.dot(query, key, input_precision="ieee") * scale_log2
        scores = tl.where((number * BLOCK + token < length)[None, :], scores, float("-inf"))
        higher = tl.maximum(maximum, tl.max(scores, axis=1))
        weights = tl.exp2(scores - higher[:, None])
        rescale = tl.exp2(maximum - higher)
        value = tl.load(values + start + token[:, None] * DIM + dim[None, :])
        accumulated = accumulated * rescale[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        total = total * rescale + tl.sum(weights, axis=1)
        maximum = higher
    at = row * KV_HEADS * GROUP + head
    if SPLITS == 1:
        result = accumulated / total[:, None]
        tl.store(out + at[:, None] * DIM + dim[None, :], result.to(out.dtype.element_ty), mask=is_head)
    else:
        part = at * SPLITS + split
        tl.store(partial + part[:, None] * DIM + dim[None, :], accumulated, mask=is_head)
        tl.store(maxima + part, maximum, mask=group < GROUP)
        tl.store(sums + part, total, mask=group < GROUP)


@triton.jit
def join_attention_kernel(joined, total, other, other_total, rows, heads, DIM: tl.constexpr, HEADS: tl.constexpr):
    """Join attention to other keys into ``joined``, by the log-sum-exps; one program per few heads of a row."""
    row = tl.program_id(0).to(tl.int64)
    head, dim = tl.program_id(1) * HEADS + tl.arange(0, HEADS), tl.arange(0, DIM)
    inside = head < heads
    at = head * rows + row
    a = tl.load(total + at, mask=inside, other=0.0)
    b = tl.load(other_total + at, mask=inside, other=0.0)
    highest = tl.maximum(a, b)
    weight_a, weight_b = tl.exp(a - highest), tl.exp(b - highest)
    place = ((row * heads + head) * DIM)[:, None] + dim[None, :]
    x = tl.load(joined + place, mask=inside[:, None], other=0.0).to(tl.float32)
    y = tl.load(other + place, mask=inside[:, None], other=0.0).to(tl.float32)
    sum_of_weights = weight_a + weight_b
    mixed = (x * weight_a[:, None] + y * weight_b[:, None]) / sum_of_weights[:, None]
    tl.store(joined + place, mixed.to(joined.dtype.element_ty), mask=inside[:, None])
    tl.store(total + at, highest + tl.log(sum_of_weights), mask=inside)


@triton.jit
def combine_splits_kernel(partial, maxima, sums, out, DIM: tl.constexpr, SPLITS: tl.constexpr):
    """Combine the splits of a row's head, weighted by their largest scores; one program per head of a row."""
    at = tl.program_id(0).to(tl.int64)
    split, dim = tl.arange(0, SPLITS), tl.arange(0, DIM)
    maximum = tl.load(maxima + at * SPLITS + split)
    weight = tl.exp2(maximum - tl.max(maximum, axis=0))
    parts = tl.load(partial + (at * SPLITS + split)[:, None] * DIM + dim[None, :])
    total = tl.sum(tl.load(sums + at * SPLITS + split) * weight, axis=0)
    tl.store(out + at * DIM + dim, (tl.sum(parts * weight[:, None], axis=0) / total).to(out.dtype.element_ty))
