"""Pictures and videos to what the text model reads in their place: each looked at once."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from engine.request import ModelInputs


class EncoderCache:
    """The last media's features, by what they are of, up to so many bytes. A medium that is larger is not kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def get(self, digest: bytes) -> torch.Tensor | None:
        features = self._kept.get(digest)
        if features is not None:
            self._kept.move_to_end(digest)
        return features

    def put(self, digest: bytes, features: torch.Tensor) -> None:
        if features.nbytes > self._max_bytes or digest in self._kept:
            return
        self._kept[digest] = features
        self._bytes += features.nbytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


class VisionEncoder:
    """The vision tower, and what it has seen lately: a follow-up on the same picture does not look again."""

    def __init__(self, model: Any, *, cache_bytes: int) -> None:
        self._model = model
        self._device = model.device
        self._cache = EncoderCache(cache_bytes)
        self.passes = 0
        """Media that the tower looked at since the start."""

    @torch.inference_mode()
    def features(self, inputs: ModelInputs) -> torch.Tensor | None:
        """Of all media of a request in the order of their tokens, ``[image tokens, hidden]``; None: it has none."""
        parts = [self._look(*medium) for medium in _media(inputs)]
        return torch.cat(parts) if parts else None

    def _look(self, digest: bytes | None, kind: str, pixels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        if digest is not None and (kept := self._cache.get(digest)) is not None:
            return kept
        see = self._model.model.get_video_features if kind == "video" else self._model.model.get_image_features
        seen = see(pixels.to(self._device, non_blocking=True), grid[None].to(self._device))
        features: torch.Tensor = seen.pooler_output[0]
        self.passes += 1
        if digest is not None:
            self._cache.put(digest, features)
        return features


def _media(inputs: ModelInputs) -> Iterator[tuple[bytes | None, str, torch.Tensor, torch.Tensor]]:
    """Each medium's digest, kind, patches and grid."""
    mm_hashes = iter(inputs.mm_hashes)
    for kind, pixels, grids in (
        ("image", inputs.pixel_values, inputs.image_grid_thw),
        ("video", inputs.pixel_values_videos, inputs.video_grid_thw),
    ):
        if pixels is None or grids is None:
            continue
        sizes = grids.prod(dim=-1).tolist()
        if sum(sizes) != len(pixels):
            raise ValueError(f"{len(pixels)} patches do not fill grids of {sizes}")
        for grid, patches in zip(grids, torch.split(pixels, sizes), strict=True):
            yield next(mm_hashes, None), kind, patches, grid
