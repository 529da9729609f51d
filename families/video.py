"""How a family samples a video: which frames, at which size, and the timestamps in the prompt."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from families.bounds import fit

TEMPORAL_PATCH = 2
"""Frames that the vision encoder reads as one."""


@dataclass(frozen=True)
class FrameClock:
    """When each frame of a video is shown."""

    frames: int
    fps: float
    seconds: tuple[float, ...] | None = None
    """Of each frame, for a video with a variable frame rate; None: they follow from ``fps``."""

    @property
    def duration(self) -> float:
        """The duration in seconds."""
        if self.seconds is None:
            return self.frames / self.fps
        return self.seconds[-1] + 1 / self.fps

    def time_of(self, index: int) -> float:
        """Return the time of a frame in seconds."""
        return index / self.fps if self.seconds is None else self.seconds[index]

    def first_frame_at(self, second: float) -> int:
        """Return the index of the first frame that is shown at or after this time, or of the last frame."""
        if self.seconds is None:
            return min(self.frames - 1, math.ceil(second * self.fps))
        return min(self.frames - 1, bisect_left(self.seconds, second))


FrameSampler = Callable[[FrameClock], list[int]]
"""Returns the indices of the frames that the model sees: ascending, an even number (the last may occur twice)."""


@dataclass(frozen=True)
class FixedRate:
    """The sampler of GLM-4.1V: ``fps`` frames a second; a video longer than ``max_seconds`` gets as many frames as one
    of that length, evenly spaced.

    Gives the indices of transformers' ``Glm4vVideoProcessor.sample_frames``; a test compares them.
    """

    fps: int
    max_seconds: int

    def __call__(self, clock: FrameClock) -> list[int]:
        if clock.duration <= self.max_seconds:
            count = max(math.floor(clock.duration * self.fps), 1)
            return _even([clock.first_frame_at(number / self.fps) for number in range(count)])
        count = self.max_seconds * self.fps
        if count >= clock.frames:
            return _even(range(clock.frames))
        return _even([clock.first_frame_at(second) for second in _linspace(0, clock.duration, count)])


@dataclass(frozen=True)
class RateByDuration:
    """The sampler of GLM-4.6V: the longer the video, the fewer frames a second.

    Gives the indices of transformers' ``Glm46VVideoProcessor.sample_frames``; a test compares them.
    """

    rates: tuple[tuple[int, float], ...]
    """Pairs of a duration in seconds and the rate up to it, in pairs of frames a second. The last duration limits the
    number of frames of longer videos."""
    max_frames: int

    def __call__(self, clock: FrameClock) -> list[int]:
        counted_s = min(clock.duration, self.rates[-1][0])
        rate = next(rate for seconds, rate in self.rates if counted_s <= seconds)
        count = min(int(counted_s * rate * TEMPORAL_PATCH), self.max_frames)
        chosen = self._every(clock, 1 / (TEMPORAL_PATCH * rate)) if clock.frames >= count else []
        if clock.frames < count or len(chosen) > count:
            chosen = [int(index) for index in _linspace(0, clock.frames - 1, count)]
        elif len(chosen) < count:
            chosen = [int(index) for index in _linspace(chosen[0], chosen[-1], count)]
        return _even(chosen or [0])

    def _every(self, clock: FrameClock, step_s: float) -> list[int]:
        """Return the first frame of each step."""
        chosen: list[int] = []
        due_s, last_s = 0.0, int(clock.duration)
        frame_s = 1 / clock.fps
        for index in range(clock.frames):
            # Multiplied, as in transformers: a division rounds differently.
            shown_s = index * frame_s if clock.seconds is None else clock.seconds[index]
            if shown_s >= due_s:
                due_s += step_s
                chosen.append(index)
                if due_s >= last_s:
                    break
        return chosen


@dataclass(frozen=True)
class VideoBounds:
    """How many frames of a video the model sees, and their size."""

    sampler: FrameSampler
    timestamp_format: str
    """Of a frame's second in the prompt."""
    whole_seconds: bool
    """Timestamps are rounded down."""
    factor: int
    """Both sides are multiples of this, in pixels."""
    min_pixels: int
    """Of all frames together."""
    max_pixels: int
    """Of all frames together."""
    max_aspect: int = 200
    max_frames: int | None = None
    """A client's limit; None: all sampled frames."""

    def narrow(self, *, max_frames: int | None, max_pixels: int | None) -> "VideoBounds":
        """Return these bounds with a client's limits. None: the client set no limit."""
        pixels = self.max_pixels if max_pixels is None else max(self.min_pixels, min(self.max_pixels, max_pixels))
        return replace(self, max_frames=max_frames, max_pixels=pixels)

    def select_frames(self, clock: FrameClock) -> list[int]:
        """Return the indices of the frames that the model sees: as sampled, thinned out evenly to ``max_frames``."""
        indices = self.sampler(clock)
        if self.max_frames is None or len(indices) <= self.max_frames:
            return indices
        count = max(self.max_frames - self.max_frames % TEMPORAL_PATCH, TEMPORAL_PATCH)
        return _even([indices[int(index)] for index in _linspace(0, len(indices) - 1, count)])

    def fit(self, frames: int, width: int, height: int) -> tuple[int, int]:
        """Return the width and height at which the model sees each of ``frames`` frames, in pixels.

        Raises:
            ValueError: one side is more than ``max_aspect`` times the other.
        """
        return fit(
            width, height, frames=frames, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels,
            max_aspect=self.max_aspect,
        )  # fmt: skip

    def timestamps(self, seconds: Sequence[float]) -> list[str]:
        """Return the text that follows each pair of frames in the prompt.

        Args:
            seconds: of all frames.
        """
        firsts = seconds[::TEMPORAL_PATCH]
        return [self.timestamp_format.format(int(second) if self.whole_seconds else second) for second in firsts]

    def max_tokens(self, width: int, height: int, seconds: Sequence[float]) -> int:
        """Return an upper bound for the prompt tokens of such frames: each character of a timestamp counts as one.

        Args:
            seconds: of all frames.
        """
        stamps = self.timestamps(seconds)
        pair = width * height // self.factor**2 + 2
        return 2 + len(stamps) * pair + sum(map(len, stamps))


def _linspace(first: float, last: float, count: int) -> list[float]:
    """Return evenly spaced numbers from first to last, both included; rounds as numpy's linspace does."""
    step = (last - first) / (count - 1) if count > 1 else 0.0
    return [number * step + first for number in range(count - 1)] + [last if count > 1 else first]


def _even(indices: Sequence[int]) -> list[int]:
    """Remove repeats and return an even number of indices: the vision encoder reads pairs of frames."""
    unique = list(dict.fromkeys(indices))
    return unique if len(unique) % TEMPORAL_PATCH == 0 else [*unique, unique[-1]]
