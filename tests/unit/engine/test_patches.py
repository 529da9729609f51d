"""Patches equal those of transformers' image processor, bit for bit."""

import numpy as np
import pytest
import torch
from PIL import Image

from engine.inputs.patches import Patchifier
from pocket.model import make_image_processor


@pytest.mark.parametrize("size", [(56, 56), (336, 252), (100, 70), (31, 400), (900, 700), (10, 10)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_patches_of_an_image_equal_those_of_transformers(size: tuple[int, int], dtype: torch.dtype) -> None:
    processor = make_image_processor()
    random = np.random.default_rng(sum(size))
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    theirs = processor(images=[image], return_tensors="pt")
    patches, grid = Patchifier.of(processor, dtype).patchify_image(image)
    assert [grid] == theirs["image_grid_thw"].tolist()
    assert patches.dtype == dtype
    assert torch.equal(patches, theirs["pixel_values"].float().to(dtype))


def test_frames_of_a_pair_stay_in_order() -> None:
    patchifier = Patchifier.of(make_image_processor(), torch.float32)
    frames = [Image.new("RGB", (56, 28), (value, value, value)) for value in (0, 50, 100, 150)]
    patches, grid = patchifier.patchify(frames)
    assert grid == [2, 2, 4]
    means = patches.view(2, 8, 3, 2, -1).mean(dim=(1, 2, 4)).flatten()
    assert means.tolist() == sorted(means.tolist())
    assert len(set(means.tolist())) == 4
