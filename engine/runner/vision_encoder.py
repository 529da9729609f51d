"""Vision encoder: images and videos to embeddings of their image tokens, with a cache by content.

The media of all waiting requests are encoded together, up to a number of patches in one pass of the tower. A long video
is split at frame pairs, which do not attend to each other. A pass may stop between two layers and continue in the next
step: so the largest image does not delay the tokens of other requests.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import torch

from engine.core.step_costs import StepCosts
from engine.request import ModelInputs
from engine.runner.vision_tower import Grid, TowerPass, VisionTower

MAX_PASS_PATCHES = 12_288
"""Patches of a pass with more than one image or part of a video. It bounds the memory for activations, about 0.4 GiB
at the published model's size; the largest image takes twice as much."""

WARM_UP_GRIDS: tuple[tuple[Grid, ...], ...] = (((1, 32, 32),), ((1, 6, 10), (2, 4, 4)))
"""Passes of one image and of several media: kernels are compiled for counts that 16 divides, and for other counts."""


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


@dataclass(eq=False)
class Part:
    """An image, or as many frame pairs of a video as fit one pass."""

    pixels: torch.Tensor
    """``[patches, channels × temporal × patch²]``, on the CPU."""
    grid: Grid
    cost: float
    features: torch.Tensor | None = None


@dataclass(eq=False)
class Medium:
    """An image or a video. Requests with the same medium share it while they wait."""

    mm_hash: bytes | None
    num_tokens: int
    parts: list[Part]
    features: torch.Tensor | None = None
    """``[image tokens, hidden]``, once all parts are encoded."""


@dataclass(eq=False)
class MediaEncoding:
    """The media of one request, in token order."""

    media: list[Medium]

    @property
    def num_tokens(self) -> int:
        """Number of image tokens."""
        return sum(medium.num_tokens for medium in self.media)

    @property
    def cost_left(self) -> float:
        """Cost of the parts that are not encoded."""
        waiting = (medium for medium in self.media if medium.features is None)
        return sum(part.cost for medium in waiting for part in medium.parts if part.features is None)

    def features(self) -> torch.Tensor | None:
        """Return the embeddings ``[image tokens, hidden]`` of all media; None without media."""
        parts = [medium.features for medium in self.media if medium.features is not None]
        if len(parts) < len(self.media):
            raise ValueError("the media are not encoded yet")
        return torch.cat(parts) if parts else None


@dataclass
class _Running:
    """The pass that has begun."""

    media: list[Medium]
    parts: list[Part]
    cost: float
    state: TowerPass = field(repr=False)


class VisionEncoder:
    """The vision tower with its output cache: a follow-up on the same image does not encode it again.

    Args:
        tower: runs the layers.
        costs: what a part costs.
        cache_bytes: size of the output cache.
        max_pass_patches: patches of a pass with several parts. 0: each image, or part of a video, is a pass of its own,
            so that its embeddings do not depend on what else waits.
        max_part_patches: patches of a part of a video.
    """

    def __init__(
        self,
        tower: VisionTower,
        costs: StepCosts,
        *,
        device: torch.device,
        dtype: torch.dtype,
        cache_bytes: int,
        max_pass_patches: int = MAX_PASS_PATCHES,
        max_part_patches: int = MAX_PASS_PATCHES,
    ) -> None:
        self._tower = tower
        self._costs = costs
        self._device, self._dtype = device, dtype
        self._cache = EncoderCache(cache_bytes)
        self._max_pass_patches = max_pass_patches
        self._max_part_patches = max_part_patches
        self._waiting: WeakValueDictionary[bytes, Medium] = WeakValueDictionary()
        self._running: _Running | None = None
        self.encoded_media = 0
        """Images and videos that were encoded; cache hits do not count."""

    def begin(self, inputs: ModelInputs) -> MediaEncoding:
        """Return the media of a request, with the embeddings of those that are in the cache.

        Raises:
            ValueError: the patches do not match the grids.
        """
        return MediaEncoding([self._medium(*medium) for medium in _media(inputs)])

    def sizes_of(self, inputs: ModelInputs) -> list[tuple[int, float]]:
        """Return for each medium of a request its number of image tokens, and the cost of encoding it."""
        grids = [grid for grid in (inputs.image_grid_thw, inputs.video_grid_thw) if grid is not None]
        return [
            (pairs * rows * columns // self._tower.merge**2, self._costs.of_grid(pairs, rows, columns))
            for pairs, rows, columns in (torch.cat(grids).tolist() if grids else ())
        ]

    @torch.inference_mode()
    def run(self, encodings: Iterable[MediaEncoding], budget: float) -> None:
        """Encode the media of these requests, the first ones first, until the budget is used up.

        Each call runs at least one layer. An exception discards the pass; its parts stay not encoded.
        """
        wanted = list(encodings)
        if self._running and not any(medium in one.media for one in wanted for medium in self._running.media):
            self._running = None  # the requests have left
        waiting = self._waiting_parts(wanted)
        spent = 0.0
        while spent < budget:
            running = self._running or self._start(waiting)
            if running is None:
                return
            self._running = None  # an exception below discards it
            layers_left = self._tower.num_layers - running.state.next_layer
            layer_cost = running.cost / self._tower.num_layers
            layers = max(int(min((budget - spent) / layer_cost + 1e-6, layers_left)), 1)
            self._tower.advance(running.state, layers)
            spent += layers * layer_cost
            if layers == layers_left:
                self._finish(running)
            else:
                self._running = running

    def encode(self, inputs: ModelInputs) -> torch.Tensor | None:
        """Return embeddings ``[image tokens, hidden]`` of all media of a request in token order; None without media."""
        encoding = self.begin(inputs)
        self.run([encoding], float("inf"))
        return encoding.features()

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run the tower on empty images, so that no request waits until its kernels are compiled."""
        for grids in WARM_UP_GRIDS:
            sizes = [pairs * rows * columns for pairs, rows, columns in grids]
            pixels = self._upload([torch.zeros(size, self._tower.patch_elements) for size in sizes])
            state = self._tower.start(pixels, grids)
            self._tower.advance(state, self._tower.num_layers)
            self._tower.finish(state)

    def discard_pass(self) -> None:
        """Forget the pass that has begun; its parts stay not encoded."""
        self._running = None

    def _medium(self, mm_hash: bytes | None, kind: str, pixels: torch.Tensor, grid: Grid) -> Medium:
        num_tokens = len(pixels) // self._tower.merge**2
        if mm_hash is not None:
            if (cached := self._cache.get(mm_hash)) is not None:
                return Medium(mm_hash, num_tokens, [], cached)
            if (waiting := self._waiting.get(mm_hash)) is not None:
                return waiting
        pairs, rows, columns = grid
        step = max(1, self._max_part_patches // (rows * columns)) if kind == "video" else pairs
        parts = []
        for first in range(0, pairs, step):
            count = min(step, pairs - first)
            patches = pixels[first * rows * columns : (first + count) * rows * columns]
            parts.append(Part(patches, (count, rows, columns), self._costs.of_grid(count, rows, columns)))
        medium = Medium(mm_hash, num_tokens, parts)
        if mm_hash is not None:
            self._waiting[mm_hash] = medium
        return medium

    def _waiting_parts(self, encodings: Iterable[MediaEncoding]) -> list[tuple[Medium, Part]]:
        """Return the parts that no pass has begun, without repeats."""
        begun = set(self._running.parts) if self._running else set()
        media = dict.fromkeys(medium for one in encodings for medium in one.media if medium.features is None)
        return [
            (medium, part)
            for medium in media
            for part in medium.parts
            if part.features is None and part not in begun
        ]  # fmt: skip

    def _start(self, waiting: list[tuple[Medium, Part]]) -> _Running | None:
        """Begin a pass over as many of the first waiting parts as fit, and remove them from the list."""
        chosen: list[tuple[Medium, Part]] = []
        patches = 0
        while waiting:
            patches += len(waiting[0][1].pixels)
            if chosen and patches > self._max_pass_patches:
                break
            chosen.append(waiting.pop(0))
        if not chosen:
            return None
        parts = [part for _, part in chosen]
        state = self._tower.start(self._upload([part.pixels for part in parts]), [part.grid for part in parts])
        return _Running([medium for medium, _ in chosen], parts, sum(part.cost for part in parts), state)

    def _finish(self, running: _Running) -> None:
        features = self._tower.finish(running.state)
        merge = self._tower.merge**2
        split = torch.split(features, [len(part.pixels) // merge for part in running.parts])
        is_shared = len(split) > 1
        for part, part_features in zip(running.parts, split, strict=True):
            # A copy, so that no part holds the memory of the whole pass.
            part.features = part_features.clone() if is_shared else part_features
        for medium in dict.fromkeys(running.media):
            done = [part.features for part in medium.parts if part.features is not None]
            if len(done) == len(medium.parts):
                medium.features = torch.cat(done) if len(done) > 1 else done[0]
                medium.parts = []
                self.encoded_media += 1
                if medium.mm_hash is not None:
                    self._cache.put(medium.mm_hash, medium.features)

    def _upload(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Copy patches to the device in the model's dtype, without waiting for it."""
        if self._device.type == "cpu":
            return torch.cat([part.to(self._dtype) for part in pixels])
        shape = (sum(map(len, pixels)), pixels[0].shape[1])
        pinned = torch.empty(shape, dtype=self._dtype, pin_memory=True)
        for target, part in zip(torch.split(pinned, [len(part) for part in pixels]), pixels, strict=True):
            target.copy_(part)
        return pinned.to(self._device, non_blocking=True)


def _media(inputs: ModelInputs) -> Iterator[tuple[bytes | None, str, torch.Tensor, Grid]]:
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
        for grid, patches in zip(grids.tolist(), torch.split(pixels, sizes), strict=True):
            pairs, rows, columns = grid
            yield next(hashes, None), kind, patches, (pairs, rows, columns)
