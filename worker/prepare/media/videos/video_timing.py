"""Finds when each frame of a video is shown, although single timestamps may be missing or wrong.

Some cameras and streams write timestamps that players correct on the fly: one that is hours ahead, a clock that starts
again, a first frame at 0 before all others at the time of day. A wrong duration would leave only a few frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

MIN_KNOWN_SHARE = 0.5
"""With fewer timestamps, or fewer different ones, only the number of frames and the rate say when they are shown."""
MIN_STEP_S = 0.001
"""No camera takes frames faster; such timestamps are counters, or remains of wrong ones that libav corrected."""
TOLERANCE_S, TOLERANCE_FRAMES = 5.0, 20
"""How far a timestamp may be from the one before it. Codecs reorder up to 16 frames."""
LOOKAHEAD = 16
"""Frames within which the timestamps return to their line after a wrong one."""
MIN_FALSE_GAP_S, FALSE_GAP_FRAMES, FALSE_GAP_SHARE = 60.0, 100, 0.5
"""A pause that is longer than all of these, the last of the whole duration, is an error of the clock. A video with a
still picture between two frames, such as a recorded screen, has shorter or several pauses."""
MAX_FALSE_GAPS = 16


@dataclass(frozen=True)
class FrameTimes:
    """The frames of a video in the order in which they are shown."""

    seconds: tuple[float, ...]
    """Of each frame; the first is 0."""
    rank_by_timestamp: dict[int, int]
    """The position of a frame in this order, by its timestamp in the file."""


def frame_times(timestamps: Sequence[int | None], time_base_s: float) -> FrameTimes | None:
    """Return when each frame is shown. None: the timestamps do not say it.

    Args:
        timestamps: presentation timestamps, in the order of the file.
        time_base_s: seconds per unit of a timestamp.
    """
    known = sorted(timestamp for timestamp in timestamps if timestamp is not None)
    steps = [(after - before) * time_base_s for before, after in pairwise(known) if after > before]
    if time_base_s <= 0 or len(known) < max(1, MIN_KNOWN_SHARE * len(timestamps)):
        return None
    if len(steps) < MIN_KNOWN_SHARE * (len(known) - 1):
        return None
    step_s = median(steps) if steps else 0.0
    if steps and step_s < MIN_STEP_S:
        return None
    shown = _straightened([None if value is None else (value - known[0]) * time_base_s for value in timestamps], step_s)
    order = sorted(range(len(shown)), key=shown.__getitem__)
    ranks: dict[int, int] = {}
    for rank, index in enumerate(order):
        timestamp = timestamps[index]
        if timestamp is not None:
            ranks.setdefault(timestamp, rank)
    return FrameTimes(_without_false_gaps([shown[index] for index in order], step_s), ranks)


def _straightened(shown: Sequence[float | None], step_s: float) -> list[float]:
    """Return the times in the order of the file, with missing and single wrong ones replaced, and one running clock."""
    tolerance_s = max(TOLERANCE_S, TOLERANCE_FRAMES * step_s)
    first = next(time for time in shown if time is not None)
    previous, offset, straight = first - step_s, 0.0, []
    for index, stored in enumerate(shown):
        time = previous + step_s if stored is None else stored + offset
        if stored is not None and index and abs(time - previous) > tolerance_s:
            following = shown[index + 1 : index + 1 + LOOKAHEAD]
            if any(later is not None and abs(later + offset - previous) <= tolerance_s for later in following):
                time = previous + step_s  # the next frames continue where the previous ones were
            elif time < previous:
                offset += previous + step_s - time  # the clock started again
                time = previous + step_s
        straight.append(time)
        previous = time
    return straight


def _without_false_gaps(shown: list[float], step_s: float) -> tuple[float, ...]:
    """Return ascending times from 0, with pauses that only a wrong clock explains shortened to one frame."""
    gaps = [after - before for before, after in pairwise(shown)]
    removed = [0.0] * len(gaps)
    for _ in range(MAX_FALSE_GAPS):
        longest = max(range(len(gaps)), key=gaps.__getitem__, default=None)
        least_s = max(MIN_FALSE_GAP_S, FALSE_GAP_FRAMES * step_s, FALSE_GAP_SHARE * sum(gaps))
        if longest is None or gaps[longest] <= least_s:
            break
        removed[longest] = gaps[longest] - step_s
        gaps[longest] = step_s
    starts = accumulate(removed, initial=shown[0])
    return tuple(time - start for time, start in zip(shown, starts, strict=True))
