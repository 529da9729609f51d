"""What the engine needs to know of a tokenizer. Ids always come from the model's own one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.errors import ModelLoadError
from families import Family

REPLACEMENT = "\ufffd"
"""What a decoder puts where bytes make no character: at the end of a text it means that more are to come."""
LONGEST_CHARACTER = 4
"""Bytes of a UTF-8 character, so at most as many tokens."""


@dataclass(frozen=True)
class SpecialTokenIds:
    think_open: int
    think_close: int
    answer_open: int | None
    ends: frozenset[int]
    """All that end a generation, the family's closing answer mark among them."""
    closing: tuple[int, ...]
    """The family's closing text; its first token is ``think_close``."""


class TokenizerInfo:
    def __init__(self, tokenizer: Any, family: Family, eos_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._specials = frozenset(tokenizer.get_added_vocab().values())
        self._boxes = frozenset(
            (self.id_of(family.special_tokens.box_open), self.id_of(family.special_tokens.box_close))
        )
        self._token_text = lru_cache(maxsize=4_096)(lambda token: self.decode([token]))
        special_tokens = family.special_tokens
        closing = tuple(tokenizer.encode(family.closing_text, add_special_tokens=False))
        ends = set(eos_ids)
        if special_tokens.answer_close is not None:
            ends.add(self.id_of(special_tokens.answer_close))
        self.special_tokens = SpecialTokenIds(
            think_open=self.id_of(special_tokens.think_open),
            think_close=self.id_of(special_tokens.think_close),
            answer_open=None if special_tokens.answer_open is None else self.id_of(special_tokens.answer_open),
            ends=frozenset(ends),
            closing=closing,
        )
        if closing[0] != self.special_tokens.think_close:
            raise ModelLoadError(
                f"The tokenizer does not read {family.closing_text!r} as {special_tokens.think_close} and more."
            )

    def id_of(self, mark: str) -> int:
        """The one id of a special token."""
        token = self._tokenizer.convert_tokens_to_ids(mark)
        if token is None or token == self._tokenizer.unk_token_id:
            raise ModelLoadError(
                f"The tokenizer has no {mark!r} token, which this family needs; "
                "check MODEL, and set MODEL_FAMILY to the family that it belongs to."
            )
        return int(token)

    def decode(self, ids: Sequence[int]) -> str:
        # The Rust tokenizer itself: transformers' wrapper takes several times as long, for each token of a batch.
        return str(self._tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False))

    def is_special(self, token: int) -> bool:
        """A token that is no text."""
        return token in self._specials

    def is_box_mark(self, token: int) -> bool:
        """It says which part of an answer is the value, or a place in a picture."""
        return token in self._boxes

    def ends_line(self, token: int) -> bool:
        return self._token_text(token).endswith("\n")

    def is_blank(self, token: int) -> bool:
        return self._token_text(token).isspace()

    def splits_character(self, tail: Sequence[int]) -> bool:
        """Do these last tokens end inside a character?"""
        return self.decode(tail[-LONGEST_CHARACTER:]).endswith(REPLACEMENT)
