"""Text out of tokens as they come, held back while it ends inside a character."""

from engine.core.tokenizer_info import REPLACEMENT, TokenizerInfo


class Detokenizer:
    """Of one phase of one sequence."""

    def __init__(self, tokenizer_info: TokenizerInfo) -> None:
        self.text = ""
        self._tokenizer_info = tokenizer_info
        self._ids: list[int] = []
        self._start = 0
        """A token's text may depend on the one before it, so decoding starts one piece back."""
        self._read = 0

    def push(self, token: int) -> str:
        """The text that a token completes; empty while a character is open.

        A character that is still open at the end is nobody's: neither the stream nor the result has half of it.
        """
        self._ids.append(token)
        before = self._tokenizer_info.decode(self._ids[self._start : self._read])
        whole = self._tokenizer_info.decode(self._ids[self._start :])
        if whole.endswith(REPLACEMENT):
            return ""
        self._start, self._read = self._read, len(self._ids)
        added = whole[len(before) :]
        self.text += added
        return added
