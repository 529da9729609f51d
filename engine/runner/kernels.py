"""Triton kernels of the decode pass.

A pass over few rows is bound by launches, so what stands between two matrix products is one kernel. Attention reads
each key once for all queries that share it, and only keys that are there.
"""

import triton
import triton.language as tl


@triton.jit
def norm_kernel(hidden, weight, out, eps, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """RMS norm; one program a row."""
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
    """``new_residual = residual + norm(added)``, ``out = norm(new_residual)``; one program a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, PADDED)
    inside = at < WIDTH
    x = tl.load(added + row * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    normed = (x * tl.rsqrt(tl.sum(x * x, axis=0) / WIDTH + eps)).to(out.dtype.element_ty)
    normed = normed * tl.load(inner + at, mask=inside, other=0.0)
    total = tl.load(residual + row * WIDTH + at, mask=inside, other=0.0) + normed
    tl.store(new_residual + row * WIDTH + at, total, mask=inside)
    y = total.to(tl.float32)
    again = (y * tl.rsqrt(tl.sum(y * y, axis=0) / WIDTH + eps)).to(out.dtype.element_ty)
    tl.store(out + row * WIDTH + at, again * tl.load(outer + at, mask=inside, other=0.0), mask=inside)


@triton.jit
def gate_kernel(gate_and_up, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """``silu(gate) · up``; one program for a part of a row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < WIDTH
    gate = tl.load(gate_and_up + row * 2 * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_and_up + row * 2 * WIDTH + WIDTH + at, mask=inside, other=0.0)
    activated = (gate * tl.sigmoid(gate)).to(out.dtype.element_ty)
    tl.store(out + row * WIDTH + at, activated * up, mask=inside)


@triton.jit
def rotate_and_store_kernel(
    qkv, cos, sin, places, queries, keys, values, head_places,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """One program for a head of a row: turned queries to ``queries``, turned keys and the values to the cache."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = tl.arange(0, DIM)
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * DIM
    x = tl.load(source + at)
    turns = (at < 2 * PAIRS) & (head < HEADS + KV_HEADS)
    partner = tl.load(source + (at ^ 1)).to(tl.float32)
    c = tl.load(cos + row * PAIRS + at // 2, mask=turns, other=1.0).to(tl.float32)
    s = tl.load(sin + row * PAIRS + at // 2, mask=turns, other=0.0).to(tl.float32)
    # even · cos - odd · sin, odd · cos + even · sin
    signed = tl.where(at % 2 == 0, -partner, partner)
    turned = tl.where(turns, x.to(tl.float32) * c + signed * s, x.to(tl.float32)).to(x.dtype)
    place = tl.load(places + row)
    if head < HEADS:
        tl.store(queries + (row * HEADS + head) * DIM + at, turned)
    elif head < HEADS + KV_HEADS:
        tl.store(keys + ((head - HEADS) * head_places + place) * DIM + at, turned)
    else:
        tl.store(values + ((head - HEADS - KV_HEADS) * head_places + place) * DIM + at, turned)


@triton.jit
def attend_kernel(
    queries, keys, values, tables, slots, lengths, out, partial, tops, sums, scale_log2, table_width, head_places,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr,
    BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """One program for a part of a row's keys of one key head, against all its queries (flash decoding).

    A split's part follows from the row's own length, so that a captured launch serves every length.
    """
    row, kv_head, split = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64), tl.program_id(2)
    length, slot = tl.load(lengths + row), tl.load(slots + row)
    group, dim, token = tl.arange(0, PADDED), tl.arange(0, DIM), tl.arange(0, BLOCK)
    head = kv_head * GROUP + group
    is_head = (group < GROUP)[:, None]
    query = tl.load(queries + ((row * KV_HEADS * GROUP + head) * DIM)[:, None] + dim[None, :], mask=is_head, other=0.0)
    blocks = tl.cdiv(length, BLOCK)
    share = tl.cdiv(blocks, SPLITS)
    first = split * share
    last = tl.minimum(first + share, blocks)
    top = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    gathered = tl.zeros([PADDED, DIM], tl.float32)
    base = kv_head * head_places
    for number in range(first, last):
        block = tl.load(tables + slot * table_width + number).to(tl.int64)
        start = (base + block * BLOCK) * DIM
        key = tl.load(keys + start + token[None, :] * DIM + dim[:, None])
        scores = tl.dot(query, key, input_precision="ieee") * scale_log2
        scores = tl.where((number * BLOCK + token < length)[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(top - higher)
        value = tl.load(values + start + token[:, None] * DIM + dim[None, :])
        gathered = gathered * shrink[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        total = total * shrink + tl.sum(weights, axis=1)
        top = higher
    at = row * KV_HEADS * GROUP + head
    if SPLITS == 1:
        result = gathered / total[:, None]
        tl.store(out + at[:, None] * DIM + dim[None, :], result.to(out.dtype.element_ty), mask=is_head)
    else:
        part = at * SPLITS + split
        tl.store(partial + part[:, None] * DIM + dim[None, :], gathered, mask=is_head)
        tl.store(tops + part, top, mask=group < GROUP)
        tl.store(sums + part, total, mask=group < GROUP)


@triton.jit
def join_kernel(partial, tops, sums, out, DIM: tl.constexpr, SPLITS: tl.constexpr):
    """One program for a head of a row: its splits, weighed by their largest scores."""
    at = tl.program_id(0).to(tl.int64)
    split, dim = tl.arange(0, SPLITS), tl.arange(0, DIM)
    top = tl.load(tops + at * SPLITS + split)
    weight = tl.exp2(top - tl.max(top, axis=0))
    parts = tl.load(partial + (at * SPLITS + split)[:, None] * DIM + dim[None, :])
    total = tl.sum(tl.load(sums + at * SPLITS + split) * weight, axis=0)
    tl.store(out + at * DIM + dim, (tl.sum(parts * weight[:, None], axis=0) / total).to(out.dtype.element_ty))
