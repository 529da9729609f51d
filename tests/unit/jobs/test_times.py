"""All documents have their times in one format."""

from jobs.model.times import format_time, format_time_if_set, parse_time


def test_a_time_has_milliseconds_and_is_in_utc() -> None:
    assert format_time(1_795_464_009_007) == "2026-11-23T20:00:09.007Z"
    assert format_time_if_set(0) is None
    assert parse_time(format_time(1_795_464_009_007)).timestamp() == 1_795_464_009.007
