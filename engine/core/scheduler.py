"""What the next step reads: which sequences run, which tokens of theirs, in which blocks. Plain Python, no torch.

A sequence with many unread tokens is read in chunks, one sequence a pass (prefill). One with few gives as many rows to
the batch that all others share (decode): the closing text of a thought costs three rows, not a step of its own.
"""

from collections import deque
from dataclasses import dataclass, field

from engine.core.block_pool import BlockPool, blocks_for
from engine.core.sequence import PendingToken, Sequence

ROWS_PER_SEQUENCE = 8
"""Unread tokens behind a prompt that go as rows of the decode batch; more than these are a prefill."""


@dataclass(frozen=True, slots=True)
class ScheduledTokens:
    """Tokens of one sequence that a pass reads: from ``start`` to ``end``, prompt included."""

    sequence: Sequence
    start: int
    end: int
    draw: PendingToken | None
    """Asked of its last token; None: more of the sequence is to be read first."""
    is_ahead: bool = False
    """Its one token is being drawn: the device knows it, the scheduler does not."""


@dataclass(frozen=True, slots=True)
class SchedulerOutput:
    prefills: list[ScheduledTokens] = field(default_factory=list)
    """Each a pass of its own."""
    decode: list[ScheduledTokens] = field(default_factory=list)
    """Together one pass; a span is as many rows as it has tokens."""

    @property
    def spans(self) -> list[ScheduledTokens]:
        return [*self.prefills, *self.decode]


class Scheduler:
    """Oldest first: the head of the line is never passed, and who came last gives way.

    Args:
        slots: sequences that may run at once.
        max_prefill_tokens: prompt tokens that one step may read, so that nobody's next token waits for a long prompt.
    """

    def __init__(self, pool: BlockPool, *, slots: int, max_prefill_tokens: int) -> None:
        self.pool = pool
        self.slots = slots
        self.max_prefill_tokens = max_prefill_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        """Times that a sequence lost its part of the cache to older ones."""
        self._free_slots = list(range(slots - 1, -1, -1))

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def find(self, request_id: str) -> Sequence | None:
        return next((one for one in [*self.running, *self.waiting] if one.id == request_id), None)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, whether it runs or waits."""
        if sequence in self.running:
            self._release(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self, *, async_scheduling: bool) -> SchedulerOutput:
        """Choose what the next step reads, and count it as read.

        Args:
            ahead: also read tokens that are still being drawn.
        """
        self._admit()
        plan = SchedulerOutput()
        left = self.max_prefill_tokens
        for sequence in tuple(self.running):
            if sequence.slot is None:
                continue  # it gave way to an older one in this very plan
            if sequence.draws:
                if async_scheduling and len(sequence.draws) == 1 and self._has_room_ahead(sequence):
                    plan.decode.append(self._span(sequence, sequence.length + 1, is_ahead=True))
            elif sequence.computed < sequence.prompt_length or sequence.unread > ROWS_PER_SEQUENCE:
                end = min(sequence.length, sequence.computed + left)
                if left and self._grow(sequence, end):
                    left -= end - sequence.computed
                    plan.prefills.append(self._span(sequence, end))
            elif self._grow(sequence, sequence.length):
                plan.decode.append(self._span(sequence, sequence.length))
        return plan

    def _span(self, sequence: Sequence, end: int, *, is_ahead: bool = False) -> ScheduledTokens:
        draw = None
        if end >= sequence.length:
            draw = PendingToken(sequence, end, sequence.control.suppressed_ids)
            sequence.draws.append(draw)
        start = sequence.length if is_ahead else sequence.computed
        if not is_ahead:
            sequence.computed = end
        return ScheduledTokens(sequence, start, end, draw, is_ahead)

    def _admit(self) -> None:
        """Let those in that fit whole, with a block to spare for each that runs."""
        while self.waiting and self._free_slots:
            sequence = self.waiting[0]
            needed = blocks_for(sequence.length + 1)
            if self.running and self.pool.free < needed + len(self.running):
                return
            blocks = self.pool.take(needed)
            if blocks is None:
                return
            self.waiting.popleft()
            sequence.slot, sequence.blocks = self._free_slots.pop(), blocks
            self.running.append(sequence)

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """See that so many tokens fit; the youngest give way. False: it was the youngest itself."""
        while (missing := blocks_for(tokens) - len(sequence.blocks)) > 0:
            if (blocks := self.pool.take(missing)) is not None:
                sequence.blocks.extend(blocks)
                break
            youngest = self.running[-1]
            self._release(youngest)
            self.waiting.appendleft(youngest)
            self.num_preemptions += 1
            if youngest is sequence:
                return False
        return True

    def _has_room_ahead(self, sequence: Sequence) -> bool:
        """Nobody gives way for a guess."""
        missing = blocks_for(sequence.length + 1) - len(sequence.blocks)
        if missing > 0:
            blocks = self.pool.take(missing)
            sequence.blocks.extend(blocks or ())
            return blocks is not None
        return True

    def _release(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self.running.remove(sequence)
        self._free_slots.append(sequence.slot)
        self.pool.give_back(sequence.blocks)
        sequence.slot, sequence.blocks = None, []
        sequence.leave()
