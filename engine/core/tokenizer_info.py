"""What the engine needs to know about a tokenizer. All ids come from the model's own tokenizer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.errors import ModelLoadError
from families import Family

REPLACEMENT_CHARACTER = "\ufffd"
"""Decoded from bytes that form no character. At the end of a text it means that more bytes may follow."""
MAX_CHARACTER_TOKENS = 4
"""A UTF-8 character has at most four bytes, so at most four tokens."""


@dataclass(frozen=True)
class SpecialTokenIds:
    """Ids of a family's special tokens."""

    think_open: int
    think_close: int
    answer_open: int | None
    stop: frozenset[int]
    """Ids that end a generation, including the family's closing answer token."""
    closing: tuple[int, ...]
    """The family's closing text; the first id is ``think_close``."""


class TokenizerInfo:
    """Special token ids and properties of single tokens.

    Args:
        tokenizer: a fast transformers tokenizer.
        family: defines which special tokens the tokenizer must have.
        eos_ids: the model's end-of-sequence ids.

    Raises:
        ModelLoadError: the tokenizer lacks a token of the family.
    """

    def __init__(self, tokenizer: Any, family: Family, eos_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self.special_ids = frozenset(tokenizer.get_added_vocab().values())
        names = family.special_tokens
        self._box_ids = frozenset((self.id_of(names.box_open), self.id_of(names.box_close)))
        self._token_text = lru_cache(maxsize=4_096)(lambda token: self.decode([token]))
        closing = tuple(tokenizer.encode(family.closing_text, add_special_tokens=False))
        stop = set(eos_ids)
        if names.answer_close is not None:
            stop.add(self.id_of(names.answer_close))
        self.special_tokens = SpecialTokenIds(
            think_open=self.id_of(names.think_open),
            think_close=self.id_of(names.think_close),
            answer_open=None if names.answer_open is None else self.id_of(names.answer_open),
            stop=frozenset(stop),
            closing=closing,
        )
        if closing[0] != self.special_tokens.think_close:
            raise ModelLoadError(
                f"The tokenizer does not encode {family.closing_text!r} with {names.think_close} as its first token; "
                "check MODEL and MODEL_FAMILY."
            )

    def id_of(self, token_text: str) -> int:
        """Return the id of a special token."""
        token = self._tokenizer.convert_tokens_to_ids(token_text)
        if token is None or token == self._tokenizer.unk_token_id:
            raise ModelLoadError(
                f"The tokenizer has no token {token_text!r}, which this family needs; "
                "check MODEL, and set MODEL_FAMILY to the model's family."
            )
        return int(token)

    def encode(self, text: str) -> list[int]:
        """Encode text; special tokens in it become their ids."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids, including special tokens."""
        # The Rust tokenizer directly: transformers' wrapper takes several times as long, for each token of a batch.
        return str(self._tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False))

    def to_json(self) -> str:
        """Return the content of the tokenizer's ``tokenizer.json``."""
        return str(self._tokenizer.backend_tokenizer.to_str())

    def is_special(self, token: int) -> bool:
        """Return whether the token is a special token, not text."""
        return token in self.special_ids

    def is_box_token(self, token: int) -> bool:
        """Return whether the token opens or closes a box: the value of an answer, or a region of an image."""
        return token in self._box_ids

    def ends_line(self, token: int) -> bool:
        """Return whether the token's text ends with a line break."""
        return self._token_text(token).endswith("\n")

    def is_blank(self, token: int) -> bool:
        """Return whether the token's text is white space."""
        return self._token_text(token).isspace()

    def splits_character(self, tail: Sequence[int]) -> bool:
        """Return whether these last tokens end inside a character."""
        return self.decode(tail[-MAX_CHARACTER_TOKENS:]).endswith(REPLACEMENT_CHARACTER)
