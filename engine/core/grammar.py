"""Grammars of answers, by llguidance: which tokens may come next, so that an answer is a valid document."""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from engine.core.tokenizer_info import TokenizerInfo
from engine.errors import SequenceError

MAX_COMPILED = 32
"""Compiled grammars that are kept: clients send the same few schemas again and again."""


class GrammarMatcher:
    """The state of one answer in its grammar."""

    def __init__(self, matcher: Any, text_ids: np.ndarray, stop_ids: np.ndarray) -> None:
        self._matcher = matcher
        self._text_ids = text_ids
        self._stop_ids = stop_ids

    def mask(self) -> bytes:
        """Return the ids that may come next, one bit each, the lowest bit of a byte first.

        Special tokens are not text. Those that end a generation are allowed where the grammar may end. If the grammar
        has become too complex, they alone are, and ``consume`` raises.
        """
        if self._matcher.is_error():
            return self._stop_ids.tobytes()
        allowed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)[: len(self._text_ids)]
        if self._matcher.is_error():
            return self._stop_ids.tobytes()
        ends = self._stop_ids if self._matcher.is_accepting() else 0
        return bytes(((allowed & self._text_ids) | ends).astype(np.uint8))

    def check(self) -> None:
        """Raise SequenceError if the grammar has failed."""
        if self._matcher.is_error():
            reason = self._matcher.get_error().strip().splitlines()[0][:300]
            raise SequenceError("grammar_failed", f"The answer's grammar cannot be followed: {reason}")

    def consume(self, token: int) -> bool:
        """Go on after a token. Returns False if the grammar does not allow it."""
        return bool(self._matcher.consume_token(token))

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped() and not self._matcher.is_error())


class GrammarCompiler:
    """Compiles grammars for one tokenizer. Safe to share between threads.

    Args:
        vocab_size: number of ids that the model scores.
    """

    def __init__(self, tokenizer_info: TokenizerInfo, *, vocab_size: int) -> None:
        self._tokenizer_info = tokenizer_info
        self._vocab_size = vocab_size
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        special = tokenizer_info.special_ids
        self._text_ids = _bits(set(range(vocab_size)) - special, vocab_size)
        self._stop_ids = _bits(tokenizer_info.special_tokens.stop, vocab_size)

    def matcher(self, grammar: str) -> GrammarMatcher:
        """Return a matcher at the beginning of a grammar.

        Compiling takes milliseconds, of a large grammar up to a second, and the first time longer: the tokenizer's
        vocabulary is read.

        Args:
            grammar: in llguidance's JSON or Lark format.

        Raises:
            SequenceError: the grammar is not valid.
        """
        with self._lock:
            compiled = self._compiled.pop(grammar, None)
            if compiled is None:
                compiled = LLMatcher(self._tokenizer_of_grammars(), grammar, log_level=0)
            self._compiled[grammar] = compiled
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
            matcher = GrammarMatcher(compiled.deep_copy(), self._text_ids, self._stop_ids)
        matcher.check()
        return matcher

    def _tokenizer_of_grammars(self) -> LLTokenizer:
        if self._tokenizer is None:
            info = self._tokenizer_info
            stop = sorted(info.special_tokens.stop)
            self._tokenizer = LLTokenizer(info.to_json(), n_vocab=self._vocab_size, eos_token=stop)
        return self._tokenizer


def _bits(ids: set[int] | frozenset[int], vocab_size: int) -> np.ndarray:
    """Return one bit per id, packed as in ``GrammarMatcher.mask``."""
    bits = np.zeros(-(-vocab_size // 8) * 8, dtype=np.uint8)
    bits[sorted(ids)] = 1
    return np.packbits(bits, bitorder="little")
