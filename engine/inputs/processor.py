"""From messages and media to tensors, without torchvision: transformers' AutoProcessor cannot be made without it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from engine.inputs.chat_prompt import MEDIA_MARKS, ChatPrompt
from engine.inputs.video_patches import Patches
from engine.request import ModelInputs
from families import Family

IMAGE_TYPE, VIDEO_TYPE = 1, 2


@dataclass(frozen=True)
class Video:
    """A video as the model looks at it."""

    frames: Sequence[Image.Image]
    """RGB, of one size that the family's bounds allow, an even number."""
    seconds: Sequence[float]
    """When each is shown."""


class InputProcessor:
    """Safe to share between threads."""

    def __init__(self, tokenizer: Any, image_processor: Any, family: Family) -> None:
        self._prompt = ChatPrompt(tokenizer, family.special_tokens)
        self._image_processor = image_processor
        self._patches = Patches.of(image_processor)
        self._family = family

        def id_of(mark: str) -> int:
            return int(tokenizer.convert_tokens_to_ids(mark))

        self._image_id, self._video_id = id_of(MEDIA_MARKS["image"]), id_of(MEDIA_MARKS["video"])
        self._image_begin, self._image_end = id_of("<|begin_of_image|>"), id_of("<|end_of_image|>")

    def process(
        self,
        messages: Sequence[dict[str, Any]],
        images: Sequence[Image.Image],
        videos: Sequence[Video] = (),
        *,
        enable_thinking: bool = True,
    ) -> ModelInputs:
        """Tensors for a conversation.

        Args:
            messages: role and content parts: ``{"type": "text", "text"}``, ``{"type": "image" | "video"}``.
            images: RGB, in the order of their parts.
            videos: in the order of their parts; the model takes either pictures or videos.
            enable_thinking: False: the answer is wanted at once; a family with a switch for it is told so.
        """
        tensors: dict[str, torch.Tensor] = {}
        places: list[list[int]] = []
        spans: list[list[int]] = []
        if images:
            features = self._image_processor(images=list(images), return_tensors="pt")
            tensors["pixel_values"] = features["pixel_values"].float()
            tensors["image_grid_thw"] = grid = features["image_grid_thw"].long()
            places = [[self._image_id] * self._merged(patches) for patches in grid.prod(dim=-1).tolist()]
        if videos:
            patched = [self._patches.cut(video.frames) for video in videos]
            tensors["pixel_values_videos"] = torch.cat([patches for patches, _ in patched])
            tensors["video_grid_thw"] = grid = torch.tensor([grid for _, grid in patched], dtype=torch.int64)
            spans = [
                self._span(video, self._merged(height * width))
                for video, (_, height, width) in zip(videos, grid.tolist(), strict=True)
            ]
        thinking_closed = self._family.has_thinking_switch and not enable_thinking
        prompt = self._prompt.encode(messages, enable_thinking=not thinking_closed)
        ids, types = self._expand(prompt, iter(places), iter(spans))
        return ModelInputs(
            torch.tensor(ids, dtype=torch.int64),
            torch.tensor(types, dtype=torch.int32),
            **tensors,
            thinking_closed=thinking_closed,
            mm_hashes=tuple(_digests(tensors)),
        )

    def _merged(self, patches: int) -> int:
        return int(patches) // int(self._image_processor.merge_size) ** 2

    def _span(self, video: Video, places: int) -> list[int]:
        """What a video's one token becomes: each pair of frames, and when it is shown."""
        span: list[int] = []
        for stamp in self._family.videos.timestamps(video.seconds):
            span += [self._image_begin, *[self._image_id] * places, self._image_end, *self._prompt.encode_text(stamp)]
        return span

    def _expand(
        self, ids: list[int], places: Iterator[list[int]], spans: Iterator[list[int]]
    ) -> tuple[list[int], list[int]]:
        """Each medium's one token, as what it stands for; and what kind each token is of."""
        expanded: list[int] = []
        types: list[int] = []
        for token in ids:
            if token == self._image_id:
                more, kind = next(places), IMAGE_TYPE
            elif token == self._video_id:
                more, kind = next(spans), VIDEO_TYPE
            else:
                more, kind = [token], 0
            expanded += more
            types += [kind if placed == self._image_id else 0 for placed in more]
        return expanded, types


def _digests(tensors: dict[str, torch.Tensor]) -> Iterator[bytes]:
    """One for each medium. Taken here, on the caller's thread: a large picture has 100 MB of patches."""
    for kind, pixels, grids in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if pixels not in tensors:
            continue
        grid = tensors[grids]
        for shape, patches in zip(grid.tolist(), torch.split(tensors[pixels], grid.prod(dim=-1).tolist()), strict=True):
            digest = hashlib.blake2b(f"{kind}:{shape}:".encode(), digest_size=16)
            digest.update(patches.contiguous().numpy().data)
            yield digest.digest()
