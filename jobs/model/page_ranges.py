"""Parses the pages of a document that a client selects, such as ``1-5,9``, counted from 1."""

import re
from dataclasses import dataclass

PAGES = r"^\s*[1-9][0-9]{0,6}(\s*-\s*([1-9][0-9]{0,6})?)?(\s*,\s*[1-9][0-9]{0,6}(\s*-\s*([1-9][0-9]{0,6})?)?)*\s*$"


@dataclass(frozen=True)
class PageSelection:
    ranges: tuple[tuple[int, int | None], ...]
    """First and last page, inclusive; None: to the end."""

    @classmethod
    def parse(cls, text: str) -> "PageSelection":
        """Parse a selection of pages. Raises ValueError if it is malformed."""
        if not re.match(PAGES, text):
            raise ValueError("must be page numbers and ranges, counted from 1, such as '1-5,9' or '3-'")
        return cls(tuple(_range(part) for part in text.split(",")))

    def page_numbers(self, total: int) -> list[int]:
        """Return the selected page numbers in this order, each once, for a document of ``total`` pages.

        Raises:
            ValueError: a selected page does not exist.
        """
        numbers: dict[int, None] = {}
        for first, last in self.ranges:
            highest = max(first, last or first)
            if highest > total:
                raise ValueError(f"it has {total} pages; page {highest} does not exist.")
            numbers.update(dict.fromkeys(range(first, (last or total) + 1)))
        return list(numbers)


def _range(part: str) -> tuple[int, int | None]:
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    if not dash:
        return int(first), int(first)
    if last and int(last) < int(first):
        raise ValueError(f"has the range {first}-{last}, whose end is before its start")
    return int(first), int(last) if last else None
