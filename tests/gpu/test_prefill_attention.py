"""Attention of prompt chunks: several in one pass, and cuDNN's pieces, against plain torch in float64."""

import pytest
import torch

from engine.runner.torch_ops import PrefillMetadata, Segments, TorchOps

if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from engine.runner.cuda_ops import CudaOps
from engine.runner.kv_cache import AttentionShape
from engine.runner.prefill_attention import (
    SMALLEST_PIECE,
    CudnnPrefill,
    FlashPrefill,
    choose_prefill,
    key_pieces,
    query_pieces,
)

CUDA = torch.device("cuda")
GLM = AttentionShape(layers=1, heads=32, kv_heads=2, head_dim=128)
MAX_ERROR = 0.01
HOPPER = torch.cuda.get_device_capability() >= (9, 0)


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


@pytest.mark.parametrize("tokens", [1, 511, 1_023, 1_024, 1_100, 1_600, 2_048, 3_000, 5_424, 8_192, 20_001])
def test_pieces_of_queries_cover_a_chunk(tokens: int) -> None:
    covered = set()
    for first, size in query_pieces(tokens):
        covered |= set(range(first, first + size))
    assert covered == set(range(tokens))
    assert sum(size for _, size in query_pieces(tokens)) < tokens + SMALLEST_PIECE // 2


@pytest.mark.parametrize("tokens", [0, 1, 1_023, 1_024, 5_000, 30_000, 131_071])
def test_pieces_of_keys_cover_them_once(tokens: int) -> None:
    covered = [key for first, size in key_pieces(tokens) for key in range(first, first + size)]
    assert covered == list(range(tokens))


@pytest.mark.parametrize("prefill", [FlashPrefill, CudnnPrefill])
@pytest.mark.parametrize(
    "chunks",
    [
        [(0, 357)],
        [(0, 357), (700, 1_000), (64, 65), (0, 30)],
        [(0, 1_024)],
        [(0, 1_900)],
        [(2_048, 4_096)],
        [(5_000, 8_424)],
        [(0, 300), (1_000, 3_500), (4_096, 5_200)],
    ],
    ids=str,
)
def test_each_token_attends_to_its_sequence_up_to_itself(
    prefill: type[FlashPrefill], chunks: list[tuple[int, int]]
) -> None:
    if prefill is CudnnPrefill and not HOPPER:
        pytest.skip("cuDNN's attention is tried on Hopper cards only here")
    positions = 2 * sum(end for _, end in chunks)
    keys, values = torch.randn(2, GLM.kv_heads, positions, GLM.head_dim, device=CUDA, dtype=torch.bfloat16)
    kv_indices = torch.randperm(positions, device=CUDA)[: sum(end for _, end in chunks)]
    metadata = PrefillMetadata.of(chunks, kv_indices, kv_indices)
    tokens = sum(end - start for start, end in chunks)
    queries = torch.randn(tokens, GLM.heads, GLM.head_dim, device=CUDA, dtype=torch.bfloat16)
    ours = CudaOps(GLM, prefill()).prefill_attention(queries, keys, values, metadata)
    row = 0
    exact = TorchOps().prefill_attention(queries.double(), keys.double(), values.double(), metadata)
    for start, end in chunks:  # each on its own: a small wrong one does not hide among the others
        rows = slice(row, row + end - start)
        assert error(ours[rows], exact[rows]) < MAX_ERROR, (start, end)
        row = rows.stop


def test_the_trial_chooses_the_faster_one() -> None:
    chosen = choose_prefill(GLM, torch.bfloat16, vision_heads=12, vision_head_dim=128)
    assert choose_prefill(GLM, torch.float32, vision_heads=12, vision_head_dim=128).name == "fa2"
    if HOPPER:
        assert chosen.name == "cudnn"


@pytest.mark.parametrize("lengths", [[4_096], [24_336], [576, 9_216, 64, 5_000]], ids=str)
def test_patches_of_large_images_attend_to_their_own_image_only(lengths: list[int]) -> None:
    if not HOPPER:
        pytest.skip("cuDNN's attention is tried on Hopper cards only here")
    qkv = torch.randn(sum(lengths), 3, 12, 128, device=CUDA, dtype=torch.bfloat16)
    ends = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=CUDA)
    ours = CudaOps(GLM, CudnnPrefill()).segment_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2], Segments(lengths, ends))
    first = 0
    for length in lengths:
        own = slice(first, first + length)
        queries, keys, values = qkv[own].float().unbind(1)
        exact = TorchOps().segment_attention(queries, keys, values, Segments([length], ends[:2]))
        assert error(ours[own], exact) < MAX_ERROR, length
        first = own.stop
