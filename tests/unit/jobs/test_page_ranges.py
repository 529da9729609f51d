"""``pages``: valid values, and the pages that they select."""

import pytest

from jobs.model.page_ranges import PageSelection


@pytest.mark.parametrize(
    ("text", "total", "pages"),
    [
        ("1", 1, [1]),
        ("1-5,9", 10, [1, 2, 3, 4, 5, 9]),
        (" 2 - 3 , 1 ", 3, [2, 3, 1]),
        ("8-", 10, [8, 9, 10]),
        ("1-3,2-4", 9, [1, 2, 3, 4]),
    ],
)
def test_pages_are_selected_in_the_requested_order(text: str, total: int, pages: list[int]) -> None:
    assert PageSelection.parse(text).page_numbers(total) == pages


@pytest.mark.parametrize("text", ["", "0", "a", "1,", "1--2", "-3", "1;2", "5-2", "1.5"])
def test_invalid_page_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be page numbers|before its start"):
        PageSelection.parse(text)


@pytest.mark.parametrize("text", ["4", "1-4", "4-", "9999999"])
def test_missing_pages_are_refused_without_expanding_the_range(text: str) -> None:
    with pytest.raises(ValueError, match="it has 3 pages; page"):
        PageSelection.parse(text).page_numbers(3)
