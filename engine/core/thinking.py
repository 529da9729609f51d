"""Staged generation: think, close the thinking, answer. A state machine over token ids, without torch.

Decisions are made on sampled tokens, after sampling, so no filter of the logits can lose a forced one. They depend
on the tokens alone, so the tokens of an earlier run, replayed, lead to the same state.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from engine.core.tokenizer_info import TokenizerInfo
from engine.errors import SequenceError
from engine.events import FinishReason, Phase, Token, TruncationReason

SOFT_SHARE = 0.9
"""From here on, a line's end is a good place to close."""
CHARACTER_GRACE = 3
"""Tokens past the budget for a character that is not complete."""
LOOP_FIRST = 256
LOOP_EVERY = 16
LOOP_PERIODS = range(4, 129)
LOOP_COPIES = 3

Visitor = Callable[[int, Phase, bool], object]
"""A sampled token, the phase that it was sampled in, and whether the answer was open then."""


class StagedGeneration:
    """One sequence's phase and counters.

    Args:
        budget: tokens of thinking; -1: none, 0: the answer at once.
        room: tokens of thinking that the context holds; only meets those without a budget.
        thinking_closed: the prompt has closed the thinking already.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        budget: int,
        room: int,
        max_answer_tokens: int,
        thinking_closed: bool = False,
    ) -> None:
        self.phase = Phase.ANSWER if thinking_closed else Phase.THINKING
        self.thinking_tokens = 0
        self.answer_tokens = 0
        self.truncation_reason: TruncationReason | None = None
        self.finish_reason: FinishReason | None = None
        self._tokenizer_info = tokenizer_info
        self._marks = tokenizer_info.special_tokens
        self._budget = budget
        self._room = room
        self._max_answer_tokens = max_answer_tokens
        self._think_opened = False
        self._answer_opened = False
        self._tail: deque[int] = deque(maxlen=LOOP_COPIES * LOOP_PERIODS[-1])

    @property
    def is_answer_open(self) -> bool:
        """Has the answer begun, by its mark or by its first word?"""
        return self._answer_opened or self.answer_tokens > 0

    @property
    def suppressed_ids(self) -> tuple[int, ...]:
        """What must not be sampled next: thinking that was closed stays closed."""
        return (self._marks.think_open, self._marks.think_close) if self.phase is Phase.ANSWER else ()

    def begin(self) -> list[Token]:
        """What stands before the first sampled token."""
        return self._close("budget") if self._budget == 0 and self.phase is Phase.THINKING else []

    def accept(self, token: int) -> list[Token]:
        """What a sampled token becomes: usually itself, sometimes followed or replaced by forced ones."""
        return self._think(token) if self.phase is Phase.THINKING else self._answer(token)

    def replay(self, journal: Iterable[Token], visit: Visitor) -> list[Token]:
        """Get into the state behind an earlier run's tokens; ``visit`` sees each sampled one, as ``accept`` would.

        Returns:
            Forced tokens that it still owed.

        Raises:
            SequenceError: the journal was not made by these rules.
        """
        owed = deque(self.begin())
        for token in journal:
            if token.forced:
                if not owed:
                    owed.extend(self._unseen_cause())
                if not owed or owed.popleft().id != token.id:
                    raise SequenceError("journal_mismatch", "The journal was made under other rules.")
            elif owed and token.id == self._marks.answer_open == owed[0].id:
                # Not a closing after an EOS, as it looked: the model opened its answer without closing its thought.
                owed.clear()
                self.truncation_reason = None
            elif owed:
                raise SequenceError("journal_mismatch", "The journal was made under other rules.")
            else:
                visit(token.id, self.phase, self.is_answer_open)
                owed.extend(self.accept(token.id)[1:])
        return list(owed)

    def _unseen_cause(self) -> list[Token]:
        """Forced tokens out of nowhere follow an EOS, which was dropped and stands in no journal."""
        return self._close("eos") if self.phase is Phase.THINKING else self._open_answer()

    def _think(self, token: int) -> list[Token]:
        special_tokens = self._marks
        if token == special_tokens.think_close:
            self._enter_answer()
            return [Token(token, forced=False)]
        if token in special_tokens.ends:
            return self._close("eos")
        if token == special_tokens.answer_open:
            bridge = special_tokens.closing[: special_tokens.closing.index(token)]
            self._enter_answer(opened=True)
            return [*(Token(forced, forced=True) for forced in bridge), Token(token, forced=False)]
        if token == special_tokens.think_open and not self._think_opened and self.thinking_tokens == 0:
            self._think_opened = True
            return [Token(token, forced=False)]
        self.thinking_tokens += 1
        self._tail.append(token)
        reason = self._reason_to_close(token)
        return [Token(token, forced=False), *(self._close(reason) if reason else [])]

    def _reason_to_close(self, token: int) -> TruncationReason | None:
        used = self.thinking_tokens
        if self._budget < 0:
            if used >= self._room:
                return "context"
        elif used >= self._budget:
            grace_left = used < self._budget + CHARACTER_GRACE
            if not (grace_left and self._tokenizer_info.splits_character(tuple(self._tail)[-4:])):
                return "budget"
        elif used >= SOFT_SHARE * self._budget and self._tokenizer_info.ends_line(token):
            return "budget"
        return "repetition" if self._is_looping(used) else None

    def _answer(self, token: int) -> list[Token]:
        if token in self._marks.ends:
            if not self.is_answer_open and (rest := self._open_answer()):
                return rest
            self.finish_reason = "stop"
            return [Token(token, forced=False)]
        if token == self._marks.answer_open and not self.is_answer_open:
            self._answer_opened = True
        elif self.is_answer_open or not self._tokenizer_info.is_blank(token):
            self.answer_tokens += 1
            self._tail.append(token)
            if self.answer_tokens >= self._max_answer_tokens:
                self.finish_reason = "length"
            elif self._is_looping(self.answer_tokens):
                self.finish_reason = "repetition"
        return [Token(token, forced=False)]

    def _close(self, reason: TruncationReason) -> list[Token]:
        self.truncation_reason = reason
        self._enter_answer(opened=self._marks.answer_open in self._marks.closing)
        return [Token(token, forced=True) for token in self._marks.closing]

    def _open_answer(self) -> list[Token]:
        """The part of the closing text behind the thought: for a model that thought, and wants to end unheard."""
        self._answer_opened = True
        return [Token(token, forced=True) for token in self._marks.closing[1:]]

    def _enter_answer(self, *, opened: bool = False) -> None:
        self.phase = Phase.ANSWER
        self._answer_opened = opened
        self._tail.clear()

    def _is_looping(self, count: int) -> bool:
        return count >= LOOP_FIRST and count % LOOP_EVERY == 0 and ends_in_loop(self._tail)


def ends_in_loop(tokens: Sequence[int]) -> bool:
    """Is the end of these tokens three copies of the same 4 to 128?"""
    tail = tuple(tokens)
    for period in LOOP_PERIODS:
        if len(tail) < LOOP_COPIES * period:
            return False
        last = tail[-period:]
        if tail[-2 * period : -period] == last and tail[-3 * period : -2 * period] == last:
            return True
    return False
