"""transformers' own processors, with torchvision: a process of its own, because only here torchvision can be imported.

    python -m tests.oracle.processor    # a question in JSON on each line, an answer on each line

torchvision has no CPU build for this torch, so the two operators that its import looks for are declared, empty.
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


def indices(question: dict[str, Any]) -> list[list[int]]:
    """Which frames the processor takes of each ``[frames, fps]``."""
    processor = VIDEO[question["kind"]](**question["options"])
    return [processor.sample_frames(metadata(*video), fps=processor.fps).tolist() for video in question["videos"]]


def prompt(question: dict[str, Any]) -> dict[str, Any]:
    """Ids, grids and pixels of a conversation; media as files of arrays, ``[height, width, 3]`` and with time first."""
    tokenizer = AutoTokenizer.from_pretrained(question["model"])
    tokenizer.chat_template = question["template"] or tokenizer.chat_template
    images = Glm4vImageProcessor.from_pretrained(question["model"])
    processor = WHOLE[question["kind"]](
        images, tokenizer, VIDEO[question["kind"]](**question["options"]), chat_template=tokenizer.chat_template
    )
    pictures = [Image.fromarray(np.load(path)) for path in question["pictures"]]
    videos = [torch.from_numpy(np.load(path)).permute(0, 3, 1, 2) for path in question["videos"]]
    text = tokenizer.apply_chat_template(question["messages"], tokenize=False, add_generation_prompt=True)
    features = processor(
        text=[text],
        images=pictures or None,
        videos=videos or None,
        video_metadata=[metadata(len(video), question["fps"]) for video in videos] or None,
        return_tensors="np",
    )
    wanted = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
    arrays: dict[str, Any] = {name: np.asarray(features[name]) for name in wanted if name in features}
    np.savez(question["into"], **arrays)
    return {
        "input_ids": np.asarray(features["input_ids"])[0].tolist(),
        "mm_token_type_ids": np.asarray(features["mm_token_type_ids"])[0].tolist(),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps({"indices": indices, "prompt": prompt}[question["ask"]](question)), flush=True)
