"""Text out of tokens as they come, held back while it ends inside a character."""

from worker.engine.vocabulary import REPLACEMENT, Vocabulary


class Detokenizer:
    """Of one stage of one sequence."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.text = ""
        self._vocabulary = vocabulary
        self._ids: list[int] = []
        self._start = 0
        """A token's text may depend on the one before it, so decoding starts one piece back."""
        self._read = 0

    def push(self, token: int) -> str:
        """The text that a token completes; empty while a character is open."""
        self._ids.append(token)
        return self._take(held_back=REPLACEMENT)

    def flush(self) -> str:
        """What was held back, as it is."""
        return self._take(held_back=None)

    def _take(self, *, held_back: str | None) -> str:
        before = self._vocabulary.decode(self._ids[self._start : self._read])
        whole = self._vocabulary.decode(self._ids[self._start :])
        if held_back and whole.endswith(held_back):
            return ""
        self._start, self._read = self._read, len(self._ids)
        added = whole[len(before) :]
        self.text += added
        return added
