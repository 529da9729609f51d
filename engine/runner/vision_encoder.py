"""Vision encoder: images and videos to embeddings of their image tokens, with a cache by content."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from engine.request import ModelInputs


class EncoderCache:
    """LRU cache of encoder outputs, limited in bytes. An output that is larger than the limit is not stored."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def get(self, mm_hash: bytes) -> torch.Tensor | None:
        features = self._entries.get(mm_hash)
        if features is not None:
            self._entries.move_to_end(mm_hash)
        return features

    def put(self, mm_hash: bytes, features: torch.Tensor) -> None:
        if features.nbytes > self._max_bytes or mm_hash in self._entries:
            return
        self._entries[mm_hash] = features
        self._bytes += features.nbytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1].nbytes


class VisionEncoder:
    """The model's vision tower with its output cache: a follow-up on the same image does not encode it again."""

    def __init__(self, model: Any, *, cache_bytes: int) -> None:
        self._model = model
        self._device = model.device
        self._cache = EncoderCache(cache_bytes)
        self.encoded_media = 0
        """Images and videos that were encoded; cache hits do not count."""

    @torch.inference_mode()
    def encode(self, inputs: ModelInputs) -> torch.Tensor | None:
        """Return embeddings ``[image tokens, hidden]`` of all media of a request in token order; None without media."""
        parts = [self._encode_one(*medium) for medium in _media(inputs)]
        return torch.cat(parts) if parts else None

    def _encode_one(self, mm_hash: bytes | None, kind: str, pixels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        if mm_hash is not None and (cached := self._cache.get(mm_hash)) is not None:
            return cached
        encode = self._model.model.get_video_features if kind == "video" else self._model.model.get_image_features
        output = encode(pixels.to(self._device, non_blocking=True), grid[None].to(self._device))
        features: torch.Tensor = output.pooler_output[0]
        self.encoded_media += 1
        if mm_hash is not None:
            self._cache.put(mm_hash, features)
        return features


def _media(inputs: ModelInputs) -> Iterator[tuple[bytes | None, str, torch.Tensor, torch.Tensor]]:
    """Yield hash, kind, patches and grid of each image or video."""
    hashes = iter(inputs.mm_hashes)
    for kind, pixels, grids in (
        ("image", inputs.pixel_values, inputs.image_grid_thw),
        ("video", inputs.pixel_values_videos, inputs.video_grid_thw),
    ):
        if pixels is None or grids is None:
            continue
        sizes = grids.prod(dim=-1).tolist()
        if sum(sizes) != len(pixels):
            raise ValueError(f"{kind}: {len(pixels)} patches do not match grids of {sizes} patches")
        for grid, patches in zip(grids, torch.split(pixels, sizes), strict=True):
            yield next(hashes, None), kind, patches, grid
