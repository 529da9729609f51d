"""The vision tower's kernels against plain torch, and the tower in bfloat16 against transformers' in float32."""

import copy

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from engine.runner.torch_ops import Segments, TorchOps

if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from transformers import Glm4vConfig, Glm4vForConditionalGeneration

from engine.core.step_costs import StepCosts
from engine.request import ModelInputs
from engine.runner.cuda_ops import CudaOps
from engine.runner.kv_cache import AttentionShape
from engine.runner.vision_encoder import VisionEncoder
from engine.runner.vision_tower import VisionTower

CUDA = torch.device("cuda")
TEXT = AttentionShape(layers=1, heads=32, kv_heads=2, head_dim=128)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
SHAPES = pytest.mark.parametrize(("heads", "dim"), [(12, 128), (5, 32)], ids=["glm", "pocket"])


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    difference = (ours.double().cpu() - theirs.double().cpu()).norm()
    return float(difference / theirs.double().cpu().norm())


def bound(dtype: torch.dtype) -> float:
    return 1e-5 if dtype == torch.float32 else 1e-2


@SHAPES
@DTYPES
def test_rotation_and_norm_kernels_equal_torch(heads: int, dim: int, dtype: torch.dtype) -> None:
    ours, plain = CudaOps(TEXT), TorchOps()
    rows, width = 301, heads * dim
    residual, added, weight = (torch.randn(*size, width, device=CUDA, dtype=dtype) for size in ((rows,), (rows,), ()))
    for mine, exact in zip(
        ours.add_norm(residual, added, weight, 1e-5),
        plain.add_norm(residual.double(), added.double(), weight.double(), 1e-5),
        strict=True,
    ):
        assert error(mine, exact) < bound(dtype)
    qkv = torch.randn(rows, 3, heads, dim, device=CUDA, dtype=dtype)
    angles = torch.rand(rows, dim // 2, device=CUDA) * 100
    exact_parts = plain.rotate_halves(qkv.clone().double(), angles.cos(), angles.sin())
    for mine, exact in zip(ours.rotate_halves(qkv, angles.cos(), angles.sin()), exact_parts, strict=True):
        assert error(mine, exact) < bound(dtype)


@SHAPES
@DTYPES
@pytest.mark.parametrize("lengths", [[64], [400] * 7, [4, 1_024, 576, 576, 120]], ids=["one", "frames", "images"])
def test_patches_attend_to_their_own_segment_only(heads: int, dim: int, dtype: torch.dtype, lengths: list[int]) -> None:
    qkv = torch.randn(sum(lengths), 3, heads, dim, device=CUDA, dtype=dtype)
    ends = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32, device=CUDA)
    segments = Segments(lengths, ends)
    ours = CudaOps(TEXT).segment_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2], segments)
    exact = [
        scaled_dot_product_attention(part[:, 0], part[:, 1], part[:, 2]).transpose(0, 1)
        for part in torch.split(qkv.double().transpose(0, 2), lengths, dim=2)  # heads, 3, patches
    ]
    assert error(ours, torch.cat(exact)) < bound(dtype)


@pytest.fixture(scope="module")
def model() -> Glm4vForConditionalGeneration:
    """The published tower with six layers, in float32, and a tiny text model."""
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(3)
    config = Glm4vConfig(
        text_config={
            "vocab_size": 400, "hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "intermediate_size": 256, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [16, 24, 24]},
        },
        vision_config={"depth": 6, "out_hidden_size": 4_096},
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    with CUDA:
        return Glm4vForConditionalGeneration(config).eval()


@DTYPES
@torch.inference_mode()
def test_the_tower_has_the_error_of_transformers_tower_in_the_same_dtype(
    model: Glm4vForConditionalGeneration, dtype: torch.dtype
) -> None:
    grid = torch.tensor([[1, 32, 32], [1, 24, 40], [1, 4, 6]])
    pixels = torch.randn(int(grid.prod(-1).sum()), 1_176)
    exact = torch.cat(list(model.model.get_image_features(pixels.cuda(), grid.cuda()).pooler_output))
    mine = copy.deepcopy(model).to(dtype)
    mine.model.visual.rotary_pos_emb = model.model.visual.rotary_pos_emb  # its frequencies stay float32
    theirs = torch.cat(list(mine.model.get_image_features(pixels.cuda(), grid.cuda()).pooler_output))
    encoder = VisionEncoder(
        VisionTower(mine, CudaOps(TEXT)), StepCosts(patch=1.0), device=CUDA, dtype=dtype, cache_bytes=0
    )
    ours = encoder.encode(ModelInputs(torch.zeros(1), torch.zeros(1), pixel_values=pixels, image_grid_thw=grid))
    assert ours is not None
    if dtype == torch.float32:
        assert error(ours, exact) < 1e-4
    else:
        assert error(ours, exact) < 1.2 * error(theirs, exact)
        print(f"error of ours {error(ours, exact):.4f}, of transformers' {error(theirs, exact):.4f}")


@torch.inference_mode()
def test_a_video_in_parts_equals_the_whole(model: Glm4vForConditionalGeneration) -> None:
    grid = torch.tensor([[9, 16, 16]])
    pixels = torch.randn(9 * 256, 1_176)
    inputs = ModelInputs(torch.zeros(1), torch.zeros(1), pixel_values_videos=pixels, video_grid_thw=grid)
    half = copy.deepcopy(model).to(torch.bfloat16)
    half.model.visual.rotary_pos_emb = model.model.visual.rotary_pos_emb
    tower = VisionTower(half, CudaOps(TEXT))
    outputs = [
        VisionEncoder(
            tower, StepCosts(patch=1.0), device=CUDA, dtype=torch.bfloat16, cache_bytes=0, max_part_patches=patches
        ).encode(inputs)
        for patches in (10_000, 600)
    ]
    whole, parts = outputs
    assert whole is not None
    assert parts is not None
    assert error(parts, whole) < 1e-2


@torch.inference_mode()
def test_a_warm_up_encodes_nothing_that_a_request_finds(model: Glm4vForConditionalGeneration) -> None:
    encoder = VisionEncoder(
        VisionTower(model, CudaOps(TEXT)), StepCosts(patch=1.0), device=CUDA, dtype=torch.float32, cache_bytes=2**30
    )
    encoder.warm_up()
    assert encoder.encoded_media == 0
    inputs = ModelInputs(
        torch.zeros(1),
        torch.zeros(1),
        pixel_values=torch.randn(1_024, 1_176),
        image_grid_thw=torch.tensor([[1, 32, 32]]),
    )
    encoder.encode(inputs)
    assert encoder.encoded_media == 1
