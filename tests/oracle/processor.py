"""Serve transformers' own processors, with torchvision, in a separate process: only here torchvision is importable.

    python -m tests.oracle.processor    # one call in JSON per input line, one result per output line

torchvision has no CPU build for this torch, so the two operators that its import needs are declared without code.
"""

# ruff: noqa: E402
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(sys.prefix) / "oracle"))

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from PIL import Image
from transformers import AutoTokenizer
from transformers.models.glm4v.image_processing_glm4v import Glm4vImageProcessor
from transformers.models.glm4v.processing_glm4v import Glm4vProcessor
from transformers.models.glm4v.video_processing_glm4v import Glm4vVideoProcessor
from transformers.models.glm46v.processing_glm46v import Glm46VProcessor
from transformers.models.glm46v.video_processing_glm46v import Glm46VVideoProcessor
from transformers.video_utils import VideoMetadata

VIDEO = {"glm4v": Glm4vVideoProcessor, "glm46v": Glm46VVideoProcessor}
WHOLE = {"glm4v": Glm4vProcessor, "glm46v": Glm46VProcessor}


def metadata(frames: int, fps: float, size: list[int] | None = None, **more: Any) -> VideoMetadata:
    width, height = size or (None, None)
    return VideoMetadata(total_num_frames=frames, fps=fps, duration=frames / fps, width=width, height=height, **more)


def indices(call: dict[str, Any]) -> list[list[int]]:
    """Return the frames that the processor samples from each ``[frames, fps]``."""
    processor = VIDEO[call["kind"]](**call["options"])
    return [processor.sample_frames(metadata(*video), fps=processor.fps).tolist() for video in call["videos"]]


def prompt(call: dict[str, Any]) -> dict[str, Any]:
    """Return ids, grids and pixels of a conversation. Media are files of arrays; a video has the time first."""
    tokenizer = AutoTokenizer.from_pretrained(call["model"])
    tokenizer.chat_template = call["template"] or tokenizer.chat_template
    image_processor = Glm4vImageProcessor.from_pretrained(call["model"])
    processor = WHOLE[call["kind"]](
        image_processor, tokenizer, VIDEO[call["kind"]](**call["options"]), chat_template=tokenizer.chat_template
    )
    images = [Image.fromarray(np.load(path)) for path in call["images"]]
    videos = [torch.from_numpy(np.load(path)).permute(0, 3, 1, 2) for path in call["videos"]]
    text = tokenizer.apply_chat_template(call["messages"], tokenize=False, add_generation_prompt=True)
    features = processor(
        text=[text],
        images=images or None,
        videos=videos or None,
        video_metadata=[metadata(len(video), call["fps"]) for video in videos] or None,
        return_tensors="np",
    )
    wanted = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
    arrays: dict[str, Any] = {name: np.asarray(features[name]) for name in wanted if name in features}
    np.savez(call["into"], **arrays)
    return {
        "input_ids": np.asarray(features["input_ids"])[0].tolist(),
        "mm_token_type_ids": np.asarray(features["mm_token_type_ids"])[0].tolist(),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        call = json.loads(line)
        print(json.dumps({"indices": indices, "prompt": prompt}[call["call"]](call)), flush=True)
