"""Messages and media to tensors, without torchvision: transformers' ``AutoProcessor`` cannot be created without it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from engine.inputs.chat_prompt import PLACEHOLDER_TOKENS, ChatPrompt
from engine.inputs.patches import Patchifier
from engine.request import ModelInputs
from families import Family

IMAGE_TYPE, VIDEO_TYPE = 1, 2
"""Values of ``mm_token_type_ids``."""


@dataclass(frozen=True)
class Video:
    """Frames of a video that are sent to the model."""

    frames: Sequence[Image.Image]
    """RGB; an even number of frames of one size within the family's limits."""
    seconds: Sequence[float]
    """Timestamp of each frame."""


class InputProcessor:
    """Safe to share between threads.

    Args:
        dtype: of the patches: the model's, so that the engine's thread only copies them.
    """

    def __init__(
        self, tokenizer: Any, image_processor: Any, family: Family, dtype: torch.dtype = torch.float32
    ) -> None:
        self._prompt = ChatPrompt(tokenizer, family.special_tokens)
        self._merge_size = int(image_processor.merge_size)
        self._patchifier = Patchifier.of(image_processor, dtype)
        self._family = family

        def id_of(token: str) -> int:
            return int(tokenizer.convert_tokens_to_ids(token))

        self._image_id, self._video_id = id_of(PLACEHOLDER_TOKENS["image"]), id_of(PLACEHOLDER_TOKENS["video"])
        self._image_begin, self._image_end = id_of("<|begin_of_image|>"), id_of("<|end_of_image|>")

    def process(
        self,
        messages: Sequence[dict[str, Any]],
        images: Sequence[Image.Image],
        videos: Sequence[Video] = (),
        *,
        enable_thinking: bool = True,
    ) -> ModelInputs:
        """Convert a conversation to tensors.

        Args:
            messages: role and content parts: ``{"type": "text", "text"}``, ``{"type": "image" | "video"}``.
            images: RGB, in the order of their parts.
            videos: in the order of their parts; the model takes either images or videos.
            enable_thinking: passed to the template of a family that has this switch; False: answer at once.
        """
        tensors: dict[str, torch.Tensor] = {}
        image_tokens: list[list[int]] = []
        video_tokens: list[list[int]] = []
        if images:
            patched = [self._patchifier.patchify_image(image) for image in images]
            tensors["pixel_values"] = torch.cat([patches for patches, _ in patched])
            tensors["image_grid_thw"] = grid = torch.tensor([grid for _, grid in patched], dtype=torch.int64)
            image_tokens = [[self._image_id] * self._merged(patches) for patches in grid.prod(dim=-1).tolist()]
        if videos:
            patched = [self._patchifier.patchify(video.frames) for video in videos]
            tensors["pixel_values_videos"] = torch.cat([patches for patches, _ in patched])
            tensors["video_grid_thw"] = grid = torch.tensor([grid for _, grid in patched], dtype=torch.int64)
            video_tokens = [
                self._video_tokens(video, self._merged(height * width))
                for video, (_, height, width) in zip(videos, grid.tolist(), strict=True)
            ]
        thinking_closed = self._family.has_thinking_switch and not enable_thinking
        prompt = self._prompt.encode(messages, enable_thinking=not thinking_closed)
        ids, types = self._expand_placeholders(prompt, iter(image_tokens), iter(video_tokens))
        return ModelInputs(
            torch.tensor(ids, dtype=torch.int64),
            torch.tensor(types, dtype=torch.int32),
            **tensors,
            thinking_closed=thinking_closed,
            mm_hashes=tuple(_hash_media(tensors)),
        )

    def _merged(self, patches: int) -> int:
        return int(patches) // self._merge_size**2

    def _video_tokens(self, video: Video, tokens_per_pair: int) -> list[int]:
        """Return the tokens of a video: for each frame pair its image tokens and its timestamp."""
        pair = [self._image_begin, *[self._image_id] * tokens_per_pair, self._image_end]
        tokens: list[int] = []
        for timestamp in self._family.videos.timestamps(video.seconds):
            tokens += [*pair, *self._prompt.encode_text(timestamp)]
        return tokens

    def _expand_placeholders(
        self, ids: list[int], image_tokens: Iterator[list[int]], video_tokens: Iterator[list[int]]
    ) -> tuple[list[int], list[int]]:
        """Replace each medium's placeholder by its tokens; also return the type of each token."""
        expanded: list[int] = []
        types: list[int] = []
        for token in ids:
            if token == self._image_id:
                tokens, kind = next(image_tokens), IMAGE_TYPE
            elif token == self._video_id:
                tokens, kind = next(video_tokens), VIDEO_TYPE
            else:
                tokens, kind = [token], 0
            expanded += tokens
            types += [kind if one == self._image_id else 0 for one in tokens]
        return expanded, types


def _hash_media(tensors: dict[str, torch.Tensor]) -> Iterator[bytes]:
    """Yield a hash per medium. Computed on the caller's thread: a large image has 100 MB of patches."""
    for kind, pixels, grids in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if pixels not in tensors:
            continue
        grid = tensors[grids]
        for shape, patches in zip(grid.tolist(), torch.split(tensors[pixels], grid.prod(dim=-1).tolist()), strict=True):
            digest = hashlib.blake2b(f"{kind}:{shape}:".encode(), digest_size=16)
            digest.update(patches.contiguous().view(torch.uint8).numpy().data)
            yield digest.digest()
