"""How a family looks at videos: which frames, how large, and how it is told when each was shown."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from families.bounds import fit

TEMPORAL = 2
"""Frames that the vision tower reads as one."""


@dataclass(frozen=True)
class FrameClock:
    """When each frame of a video is shown."""

    frames: int
    fps: float
    seconds: tuple[float, ...] | None = None
    """Of each frame, for a video whose frame rate varies; None: they follow from ``fps``."""

    @property
    def duration(self) -> float:
        """Seconds."""
        if self.seconds is None:
            return self.frames / self.fps
        return self.seconds[-1] + 1 / self.fps

    def time_of(self, index: int) -> float:
        return index / self.fps if self.seconds is None else self.seconds[index]

    def first_at(self, second: float) -> int:
        """The first frame that is shown at this time or later; at the end, the last one."""
        if self.seconds is None:
            return min(self.frames - 1, math.ceil(second * self.fps))
        return min(self.frames - 1, bisect_left(self.seconds, second))


@dataclass(frozen=True)
class FixedRate:
    """GLM-4.1V: so many frames a second, and of a long video as many as of the longest, spread evenly.

    Gives the indices of transformers' ``Glm4vVideoProcessor.sample_frames``; a test compares the two.
    """

    fps: int
    max_seconds: int

    def __call__(self, clock: FrameClock) -> list[int]:
        if clock.duration <= self.max_seconds:
            count = max(math.floor(clock.duration * self.fps), 1)
            return _even([clock.first_at(number / self.fps) for number in range(count)])
        count = self.max_seconds * self.fps
        if count >= clock.frames:
            return _even(range(clock.frames))
        return _even([clock.first_at(second) for second in _spread(0, clock.duration, count)])


@dataclass(frozen=True)
class RateByDuration:
    """GLM-4.6V: the longer a video, the fewer frames a second.

    Gives the indices of transformers' ``Glm46VVideoProcessor.sample_frames``; a test compares the two.
    """

    rates: tuple[tuple[int, float], ...]
    """Up to so many seconds, so many pairs of frames a second; the last entry bounds the length that counts."""
    max_frames: int

    def __call__(self, clock: FrameClock) -> list[int]:
        counted = min(clock.duration, self.rates[-1][0])
        rate = next(rate for seconds, rate in self.rates if counted <= seconds)
        wanted = min(int(counted * rate * TEMPORAL), self.max_frames)
        chosen = self._stepped(clock, 1 / (TEMPORAL * rate)) if clock.frames >= wanted else []
        if clock.frames < wanted or len(chosen) > wanted:
            chosen = [int(index) for index in _spread(0, clock.frames - 1, wanted)]
        elif len(chosen) < wanted:
            chosen = [int(index) for index in _spread(chosen[0], chosen[-1], wanted)]
        return _even(chosen or [0])

    def _stepped(self, clock: FrameClock, step: float) -> list[int]:
        chosen: list[int] = []
        due, last_second = 0.0, int(clock.duration)
        frame_seconds = 1 / clock.fps
        for index in range(clock.frames):
            # Multiplied, as transformers does: a division rounds differently.
            shown = index * frame_seconds if clock.seconds is None else clock.seconds[index]
            if shown >= due:
                due += step
                chosen.append(index)
                if due >= last_second:
                    break
        return chosen


@dataclass(frozen=True)
class VideoBounds:
    """What a family takes of a video."""

    sample: Callable[[FrameClock], list[int]]
    """Indices of the frames to look at: rising, an even number (the last one may come twice)."""
    timestamp: str
    """Format of a frame's second in the prompt."""
    whole_seconds: bool
    factor: int
    min_pixels: int
    """Of all frames together."""
    max_pixels: int
    max_aspect: int = 200
    max_frames: int | None = None
    """As a client has narrowed it; None: as many as are sampled."""

    def within(self, *, max_frames: int | None, max_pixels: int | None) -> "VideoBounds":
        """Bounds that a client has narrowed."""
        pixels = self.max_pixels if max_pixels is None else max(self.min_pixels, min(self.max_pixels, max_pixels))
        return replace(self, max_frames=max_frames, max_pixels=pixels)

    def chosen(self, clock: FrameClock) -> list[int]:
        """Indices of the frames to look at: as sampled, or of these so many, spread evenly over them."""
        indices = self.sample(clock)
        if self.max_frames is None or len(indices) <= self.max_frames:
            return indices
        count = max(self.max_frames - self.max_frames % TEMPORAL, TEMPORAL)
        return _even([indices[int(place)] for place in _spread(0, len(indices) - 1, count)])

    def fit(self, frames: int, width: int, height: int) -> tuple[int, int]:
        """The (width, height) at which so many frames are seen.

        Raises:
            ValueError: one side is more than ``max_aspect`` times the other.
        """
        return fit(
            width, height, frames=frames, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels,
            max_aspect=self.max_aspect,
        )  # fmt: skip

    def stamps(self, seconds: Sequence[float]) -> list[str]:
        """What stands behind each pair of frames in the prompt, for the seconds of all frames."""
        return [self.timestamp.format(int(second) if self.whole_seconds else second) for second in seconds[::TEMPORAL]]

    def tokens(self, width: int, height: int, seconds: Sequence[float]) -> int:
        """Prompt tokens, at most, of frames of this size: a character of a timestamp is a token at most."""
        stamps = self.stamps(seconds)
        pair = width * height // self.factor**2 + 2
        return 2 + len(stamps) * pair + sum(map(len, stamps))


def _spread(first: float, last: float, count: int) -> list[float]:
    """Even steps from first to last, both included; rounds as numpy's linspace."""
    step = (last - first) / (count - 1) if count > 1 else 0.0
    return [number * step + first for number in range(count - 1)] + [last if count > 1 else first]


def _even(indices: Sequence[int]) -> list[int]:
    """Without repeats, and an even number: the vision tower reads pairs."""
    unique = list(dict.fromkeys(indices))
    return unique if len(unique) % TEMPORAL == 0 else [*unique, unique[-1]]
