"""Stop strings: the answer ends before the first of them. Text that may be the beginning of one is held back."""

from collections.abc import Sequence


class StopMatcher:
    """Finds stop strings in the text of an answer, which arrives in pieces.

    What is found does not depend on the borders of the pieces: the stop string that ends first, and the longest of
    those that end at the same place. White space before an answer is no stop string: models begin with it.

    Args:
        stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.text = ""
        """Without what is held back, and without the stop string."""
        self.matched: str | None = None
        """The stop string that ended the answer."""
        self._stops = sorted(stops, key=len, reverse=True)
        self._held = ""
        self._has_text = False
        """Whether ``text`` is more than white space."""

    def append(self, text: str) -> str:
        """Add a piece and return the text that can be shown now."""
        if self.matched is not None:
            return ""
        window = self._held + text
        found = self._find(window)
        if found is not None:
            start, self.matched = found
            self._held = ""
            return self._show(window[:start])
        shown = len(window) - self._possible_beginning(window)
        self._held = window[shown:]
        return self._show(window[:shown])

    def flush(self) -> str:
        """Return the text that is held back: the answer has ended without a stop string."""
        held, self._held = self._held, ""
        return self._show(held)

    def _show(self, text: str) -> str:
        self.text += text
        self._has_text = self._has_text or (not text.isspace() and text != "")
        return text

    def _find(self, window: str) -> tuple[int, str] | None:
        """Return where the stop string begins, and which it is."""
        found: tuple[int, str] | None = None
        for stop in self._stops:
            start = window.find(stop)
            while start >= 0 and not (self._has_text or window[: start + len(stop)].strip()):
                start = window.find(stop, start + 1)
            if start >= 0 and (found is None or start + len(stop) < found[0] + len(found[1])):
                found = start, stop
        return found

    def _possible_beginning(self, window: str) -> int:
        """Return how many characters at the end of the window may be the beginning of a stop string."""
        longest = min(len(window), len(self._stops[0]) - 1)
        for length in range(longest, 0, -1):
            tail = window[-length:]
            if any(len(stop) > length and stop.startswith(tail) for stop in self._stops):
                return length
        return 0
