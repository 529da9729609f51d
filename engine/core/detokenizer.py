"""Incremental detokenization: text is held back while it ends inside a character."""

from engine.core.tokenizer_info import REPLACEMENT_CHARACTER, TokenizerInfo


class Detokenizer:
    """Decodes the tokens of one phase of one sequence."""

    def __init__(self, tokenizer_info: TokenizerInfo) -> None:
        self.text = ""
        self._tokenizer_info = tokenizer_info
        self._ids: list[int] = []
        # A token's text may depend on the token before it, so decoding starts one piece earlier.
        self._prefix_offset = 0
        self._read_offset = 0

    def append(self, token: int) -> str:
        """Add a token and return the text that it completes; empty while a character is incomplete.

        A character that is still incomplete at the end is dropped from both the stream and the result.
        """
        self._ids.append(token)
        prefix = self._tokenizer_info.decode(self._ids[self._prefix_offset : self._read_offset])
        text = self._tokenizer_info.decode(self._ids[self._prefix_offset :])
        if text.endswith(REPLACEMENT_CHARACTER):
            return ""
        self._prefix_offset, self._read_offset = self._read_offset, len(self._ids)
        added = text[len(prefix) :]
        self.text += added
        return added
