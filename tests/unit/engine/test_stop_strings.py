"""Stop strings are found whatever the borders of the pieces, and no part of one is shown."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.stop_strings import StopMatcher


def matched(stops: list[str], *pieces: str) -> tuple[list[str], str | None]:
    matcher = StopMatcher(stops)
    shown = [matcher.append(piece) for piece in pieces]
    if matcher.matched is None:
        shown.append(matcher.flush())
    assert "".join(shown) == matcher.text
    return shown, matcher.matched


@pytest.mark.parametrize(
    ("stops", "pieces", "text", "stop"),
    [
        (["END"], ["one EN", "D two"], "one ", "END"),
        (["END"], ["one E", "N", "ough"], "one ENough", None),
        (["ab", "abc"], ["xabc"], "x", "ab"),
        (["bc", "abc"], ["xabc"], "x", "abc"),
        (["aab"], ["a", "a", "a", "b"], "a", "aab"),
        (["\n"], ["\n", "\nyes", "\nno"], "\n\nyes", "\n"),
        (["\n\n"], ["\n\n\n", "yes\n", "\n"], "\n\n\nyes", "\n\n"),
        ([" red"], [" red"], "", " red"),
        (["🜚"], ["gold 🜚", "!"], "gold ", "🜚"),
    ],
)
def test_an_answer_ends_before_the_first_stop_string(
    stops: list[str], pieces: list[str], text: str, stop: str | None
) -> None:
    shown, found = matched(stops, *pieces)
    assert ("".join(shown), found) == (text, stop)


def test_a_possible_beginning_is_held_back_until_it_is_decided() -> None:
    matcher = StopMatcher(["STOP"])
    assert [matcher.append(piece) for piece in ("a S", "T", "O", "x ST", "OP")] == ["a ", "", "", "STOx ", ""]
    assert matcher.matched == "STOP"
    assert matcher.append("more") == ""


@given(
    stops=st.lists(st.text("ab \n", min_size=1, max_size=4), min_size=1, max_size=4),
    text=st.text("ab \n", max_size=24),
    cuts=st.lists(st.integers(0, 24), max_size=6),
)
def test_the_borders_of_the_pieces_change_nothing(stops: list[str], text: str, cuts: list[int]) -> None:
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
    shown, stop = matched(stops, *pieces)
    shown_by_character, stop_by_character = matched(stops, *text)
    assert ("".join(shown), stop) == ("".join(shown_by_character), stop_by_character)
    if stop is not None:
        assert text.startswith("".join(shown) + stop)
    else:
        assert "".join(shown) == text
