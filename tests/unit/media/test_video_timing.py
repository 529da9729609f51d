"""Wrong and missing timestamps: every frame keeps its place, and the duration stays true."""

from collections.abc import Callable, Sequence

import pytest

from worker.prepare.media.videos.video_timing import frame_times

STEP = 40
REGULAR: list[int | None] = [STEP * number for number in range(100)]
Change = Callable[[list[int]], list[int | None]]


def changed(**values: int | None) -> Change:
    """Replace the timestamps at some positions: ``t50=…``."""

    def change(times: list[int]) -> list[int | None]:
        return [values.get(f"t{number}", time) for number, time in enumerate(times)]

    return change


REPAIRED: dict[str, Change] = {
    "one far ahead": changed(t50=10**12),
    "one far back": changed(t50=-(10**12)),
    "one a minute ahead": changed(t50=60_000),
    "several far ahead": changed(t10=10**9, t11=3 * 10**9, t12=10**6, t70=10**9),
    "one near the end": changed(t98=10**9),
    "the first far ahead": changed(t0=10**9),
    "the first far back": changed(t0=-(10**9)),
    "the last far ahead": changed(t99=10**6),
    "the last two far ahead": lambda times: [*times[:98], 10**9, 10**9 + STEP],
    "the first at zero, the others at the time of day": lambda times: [
        0,
        *(time + 1_700_000_000_000 for time in times[1:]),
    ],
    "a clock that jumps ahead": lambda times: [*times[:50], *(time + 95_443_000 for time in times[50:])],
    "a clock that starts again": lambda times: [*(time + 10**7 for time in times[:50]), *times[:50]],
    "some are missing": lambda times: [None if number % 3 == 1 else time for number, time in enumerate(times)],
    "the first is missing": changed(t0=None),
    "negative": lambda times: [time - 1_000 for time in times],
}


@pytest.mark.parametrize("name", REPAIRED)
def test_a_wrong_timestamp_does_not_change_the_others(name: str) -> None:
    timestamps = REPAIRED[name]([STEP * number for number in range(100)])
    times = frame_times(timestamps, 0.001)
    assert times is not None
    assert len(times.seconds) == 100
    assert times.seconds == pytest.approx([STEP / 1000 * number for number in range(100)], abs=0.05)
    for number in (0, 20, 49, 60, 99):
        timestamp = timestamps[number]
        if timestamp is not None:
            assert abs(times.rank_by_timestamp[timestamp] - number) <= 1, "the frame keeps its place"


TRUE_PAUSES: dict[str, Sequence[int | None]] = {
    "a still of half a minute": [*REGULAR[:50], *(STEP * number + 30_000 for number in range(50, 100))],
    "pauses of minutes": [minute * 120_000 + STEP * number for minute in range(6) for number in range(20)],
    "pictures every minute": [60_000 * number for number in range(20)],
    "two pictures": [0, 100_000],
    "twenty frames, then one per second": [50 * number for number in range(20)] + [1_000 * n for n in range(1, 6)],
    "reordered frames": [0, 160, 80, 40, 120, 320, 240, 200, 280],
    "slow reordered frames": [0, 3_000, 1_000, 2_000, 6_000, 4_000, 5_000],
}


@pytest.mark.parametrize("name", TRUE_PAUSES)
def test_true_times_are_kept(name: str) -> None:
    timestamps = TRUE_PAUSES[name]
    times = frame_times(timestamps, 0.001)
    assert times is not None
    assert times.seconds == pytest.approx(sorted(time / 1_000 for time in timestamps if time is not None))


@pytest.mark.parametrize(
    "timestamps",
    [[None] * 100, [0] * 100, [None if number % 3 else number for number in range(99)], list(range(100))],
    ids=["missing", "equal", "mostly missing", "a counter"],
)
def test_timestamps_that_say_nothing_are_not_used(timestamps: list[int | None]) -> None:
    assert frame_times(timestamps, 1 / 16_000) is None


def test_without_a_time_base_timestamps_are_not_used() -> None:
    assert frame_times(REGULAR, 0.0) is None
