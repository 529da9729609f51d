"""Thinking control: a state machine over token ids that closes the thinking at its budget and limits the answer.

Decisions use sampled tokens, after sampling, so no filter of the logits can lose a forced token. They depend on the
tokens alone, so replaying the tokens of an earlier run leads to the same state.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from engine.core.grammar import GrammarMatcher
from engine.core.tokenizer_info import MAX_CHARACTER_TOKENS, TokenizerInfo
from engine.errors import SequenceError
from engine.events import FinishReason, Phase, Token, TruncationReason

SOFT_BUDGET_SHARE = 0.9
"""From this share of the budget on, the thinking is closed at the end of a line."""
CHARACTER_GRACE = 3
"""Tokens that may exceed the budget to complete a character."""
REPETITION_MIN_TOKENS = 256
"""Tokens of a phase before repetition is checked."""
REPETITION_CHECK_INTERVAL = 16
"""Tokens between two checks."""
REPETITION_PATTERN_SIZES = range(4, 129)
"""Lengths of a repeated pattern, in tokens."""
REPETITION_COPIES = 3
"""Copies of the pattern at the end of the tokens that count as repetition."""

ReplayVisitor = Callable[[int, Phase, bool], object]
"""Called with a sampled token, the phase in which it was sampled, and whether the answer was open before it."""


class ThinkingController:
    """Phase and token counts of one sequence.

    Args:
        budget: thinking tokens; -1: no budget, 0: no thinking.
        max_thinking_tokens: thinking tokens that fit the context; limits sequences without a budget.
        max_total_tokens: thinking and answer tokens together, more than the budget; None: no such limit.
        grammar: of the answer, at its beginning; None: any text.
        thinking_closed: the prompt has closed the thinking already.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        budget: int,
        max_thinking_tokens: int,
        max_answer_tokens: int,
        max_total_tokens: int | None = None,
        thinking_closed: bool = False,
        grammar: GrammarMatcher | None = None,
    ) -> None:
        self.phase = Phase.ANSWER if thinking_closed else Phase.THINKING
        self.thinking_tokens = 0
        self.answer_tokens = 0
        self.truncation_reason: TruncationReason | None = None
        self.finish_reason: FinishReason | None = None
        self._tokenizer_info = tokenizer_info
        self._special = tokenizer_info.special_tokens
        self._budget = budget
        self._most_thinking = budget + CHARACTER_GRACE
        """Where the budget ends even inside a character; a total leaves a token for the answer."""
        if max_total_tokens is not None:
            self._most_thinking = min(self._most_thinking, max_total_tokens - 1)
        self._max_thinking_tokens = max_thinking_tokens
        self._max_answer_tokens = max_answer_tokens
        self._max_total_tokens = max_total_tokens
        self._think_opened = False
        self._grammar = grammar
        self._answer_opened = thinking_closed and grammar is not None
        self._tail: deque[int] = deque(maxlen=REPETITION_COPIES * REPETITION_PATTERN_SIZES[-1])

    @property
    def is_answer_open(self) -> bool:
        """Whether the answer has begun, by its special token or by its first text."""
        return self._answer_opened or self.answer_tokens > 0

    @property
    def suppressed_ids(self) -> tuple[int, ...]:
        """Ids that must not be sampled next: thinking that was closed cannot be opened again."""
        return (self._special.think_open, self._special.think_close) if self.phase is Phase.ANSWER else ()

    @property
    def has_grammar_now(self) -> bool:
        """Whether the next token must follow a grammar. It depends on all tokens before it."""
        return self._grammar is not None and self.phase is Phase.ANSWER

    def allowed_ids(self) -> bytes | None:
        """Return the ids that the grammar allows next, as of ``GrammarMatcher.mask``; None: all."""
        return self._grammar.mask() if self._grammar is not None and self.phase is Phase.ANSWER else None

    def begin(self) -> list[Token]:
        """Return the forced tokens that come before the first sampled token."""
        return self._close_thinking("budget") if self._budget == 0 and self.phase is Phase.THINKING else []

    def accept(self, token: int) -> list[Token]:
        """Process a sampled token.

        Returns:
            The output tokens: usually the token itself, sometimes followed or replaced by forced tokens.
        """
        return self._accept_thinking(token) if self.phase is Phase.THINKING else self._accept_answer(token)

    def replay(self, journal: Iterable[Token], visit: ReplayVisitor) -> list[Token]:
        """Restore the state after the tokens of an earlier run.

        Args:
            journal: output tokens of the earlier run.
            visit: called for each sampled token, before it is accepted.

        Returns:
            Forced tokens that the earlier run had not output yet.

        Raises:
            SequenceError: the journal was not generated with these settings.
        """
        pending = deque(self.begin())
        for token in journal:
            if token.forced:
                if not pending:
                    pending.extend(self._forced_after_dropped_stop())
                if not pending or pending.popleft().id != token.id:
                    raise _journal_mismatch()
            elif pending and token.id == self._special.answer_open == pending[0].id:
                # Not a closing after a dropped EOS: the model opened its answer without closing its thinking.
                pending.clear()
                self.truncation_reason = None
            elif pending:
                raise _journal_mismatch()
            else:
                visit(token.id, self.phase, self.is_answer_open)
                pending.extend(self.accept(token.id)[1:])
        return list(pending)

    def _forced_after_dropped_stop(self) -> list[Token]:
        """Forced tokens without a visible cause follow a stop token, which is dropped and not in the journal."""
        return self._close_thinking("eos") if self.phase is Phase.THINKING else self._open_answer()

    def _accept_thinking(self, token: int) -> list[Token]:
        special = self._special
        if token == special.think_close:
            self._enter_answer()
            # Before a grammar the answer is opened at once: it allows no other text.
            opening = special.closing[1:] if self._grammar is not None else ()
            return [Token(token, forced=False), *(Token(forced, forced=True) for forced in opening)]
        if token in special.stop:
            return self._close_thinking("eos")
        if token == special.answer_open:
            bridge = special.closing[: special.closing.index(token)]
            self._enter_answer(opened=True)
            return [*(Token(forced, forced=True) for forced in bridge), Token(token, forced=False)]
        if token == special.think_open and not self._think_opened and self.thinking_tokens == 0:
            self._think_opened = True
            return [Token(token, forced=False)]
        self.thinking_tokens += 1
        self._tail.append(token)
        reason = self._reason_to_close(token)
        return [Token(token, forced=False), *(self._close_thinking(reason) if reason else [])]

    def _reason_to_close(self, token: int) -> TruncationReason | None:
        used = self.thinking_tokens
        if self._budget < 0:
            if used >= self._max_thinking_tokens:
                return "context"
        elif used >= self._budget:
            grace_left = used < self._most_thinking
            if not (grace_left and self._tokenizer_info.splits_character(tuple(self._tail)[-MAX_CHARACTER_TOKENS:])):
                return "budget"
        elif used >= SOFT_BUDGET_SHARE * self._budget and self._tokenizer_info.ends_line(token):
            return "budget"
        return "repetition" if self._is_repeating(used) else None

    def _accept_answer(self, token: int) -> list[Token]:
        if self._grammar is not None:
            self._accept_by_grammar(self._grammar, token)
            return [Token(token, forced=False)]
        if token in self._special.stop:
            if not self.is_answer_open and (forced := self._open_answer()):
                return forced
            self.finish_reason = "stop"
            return [Token(token, forced=False)]
        if token == self._special.answer_open and not self.is_answer_open:
            self._answer_opened = True
        elif self.is_answer_open or not self._tokenizer_info.is_blank(token):
            self.answer_tokens += 1
            self._tail.append(token)
            if self._is_answer_full():
                self.finish_reason = "length"
            elif self._is_repeating(self.answer_tokens):
                self.finish_reason = "repetition"
        return [Token(token, forced=False)]

    def _accept_by_grammar(self, grammar: GrammarMatcher, token: int) -> None:
        """Process a token of an answer that follows a grammar. It ends with the grammar; repetition is no reason."""
        grammar.check()
        if token in self._special.stop:
            self.finish_reason = "stop"
            return
        if not grammar.consume(token):
            raise _journal_mismatch()  # a sampled token is always allowed
        self.answer_tokens += 1
        if grammar.is_complete:
            self.finish_reason = "stop"
        elif self._is_answer_full():
            self.finish_reason = "length"

    def _is_answer_full(self) -> bool:
        total = self._max_total_tokens
        is_total_used = total is not None and self.thinking_tokens + self.answer_tokens >= total
        return is_total_used or self.answer_tokens >= self._max_answer_tokens

    def _close_thinking(self, reason: TruncationReason) -> list[Token]:
        self.truncation_reason = reason
        self._enter_answer(opened=self._special.answer_open in self._special.closing)
        return [Token(token, forced=True) for token in self._special.closing]

    def _open_answer(self) -> list[Token]:
        """The closing text after ``think_close``: for a model that closed its thinking and stops without an answer."""
        self._answer_opened = True
        return [Token(token, forced=True) for token in self._special.closing[1:]]

    def _enter_answer(self, *, opened: bool = False) -> None:
        self.phase = Phase.ANSWER
        self._answer_opened = opened or self._grammar is not None
        self._tail.clear()

    def _is_repeating(self, count: int) -> bool:
        is_due = count >= REPETITION_MIN_TOKENS and count % REPETITION_CHECK_INTERVAL == 0
        return is_due and ends_in_repetition(self._tail)


def ends_in_repetition(tokens: Sequence[int]) -> bool:
    """Return whether the tokens end with three copies of the same 4 to 128 tokens."""
    tail = tuple(tokens)
    for size in REPETITION_PATTERN_SIZES:
        if len(tail) < REPETITION_COPIES * size:
            return False
        last = tail[-size:]
        if tail[-2 * size : -size] == last and tail[-3 * size : -2 * size] == last:
            return True
    return False


def _journal_mismatch() -> SequenceError:
    return SequenceError(
        "journal_mismatch", "The journal was generated with other settings; start the generation without it."
    )
