"""Choose what the next step computes: which sequences run, which of their tokens, in which KV cache blocks.

A sequence with many uncomputed tokens is computed in chunks, one sequence per pass (prefill). A sequence with few adds
that many rows to the batch that all others share (decode). The closing text of a thought therefore costs three rows,
not a step of its own.
"""

from collections import Counter, deque

from engine.core.block_pool import BLOCK_SIZE, BlockPool, blocks_needed
from engine.core.scheduler_output import ScheduledTokens, SchedulerOutput
from engine.core.sequence import PendingToken, Sequence
from engine.core.step_costs import StepCosts
from engine.core.turns import Turns

MAX_WAITING_MEDIA_TOKENS = 65_536
"""Image tokens whose embeddings wait for the computation of their prompts, unless they are all of one sequence. They
take 0.5 GiB at the published model's size."""
MIN_CHUNK_SHARE = 0.25
"""Share of a step's prompt tokens below which a part of a prompt is left to the next step, after other prompts."""
MAX_DECODE_ROWS = 8
"""Uncomputed output tokens of one sequence that are computed as rows of the decode batch; more are a prefill."""


class Scheduler:
    """First come, first served within a group of requests; groups get the same number of slots while they need them.

    When all slots are taken and a smaller group waits, the youngest sequences of the largest group pause: the sequence
    that takes over uses a reserve slot, so that those that pause keep their tables and their KV cache. The most
    recently admitted sequence is preempted, those that pause first, when the KV cache is full, and one of the largest
    group when no reserve slot is left.

    Args:
        pool: the blocks of the KV cache.
        slots: sequences that one step computes.
        reserve_slots: sequences that may pause.
        max_prefill_tokens: prompt tokens per step, so that a long prompt does not delay other sequences' tokens. What
            attention and media add counts as ``costs`` say.
        max_idle_prefill_tokens: the same while no sequence generates; default: ``max_prefill_tokens``.
        costs: default: only the number of tokens counts.
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        slots: int,
        max_prefill_tokens: int,
        max_idle_prefill_tokens: int | None = None,
        reserve_slots: int = 0,
        costs: StepCosts | None = None,
    ) -> None:
        self.pool = pool
        self.slots = slots
        self.max_prefill_tokens = max_prefill_tokens
        self._max_idle_prefill_tokens = max_idle_prefill_tokens or max_prefill_tokens
        self._costs = costs or StepCosts()
        self.turns = Turns()
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """Oldest first; those that pause, too."""
        self.num_preemptions = 0
        self.prefix_cache_queries = self.prefix_cache_hits = 0
        """Tokens of the sequences that got a slot, and those of them that were in the prefix cache."""
        self._num_slots = slots + reserve_slots
        self._free_slots = list(range(self._num_slots - 1, -1, -1))

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def num_taken_slots(self) -> int:
        return self._num_slots - len(self._free_slots)

    @property
    def num_paused(self) -> int:
        """Sequences that keep a slot without being computed."""
        return max(0, len(self.running) - self.slots)

    def add(self, sequence: Sequence) -> None:
        """Append a sequence to the queue."""
        self.waiting.append(sequence)

    def find(self, request_id: str) -> Sequence | None:
        """Return the running or waiting sequence of a request."""
        return next((one for one in [*self.running, *self.waiting] if one.id == request_id), None)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence, running or waiting, and free what it occupies. Does nothing for an unknown one."""
        if sequence in self.running:
            self._release(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def register_blocks(self, sequence: Sequence, num_tokens: int) -> None:
        """Let other sequences find the full blocks of a running sequence's first tokens.

        Call it when a token after them was sampled: then they are computed, and none of them is NaN.
        """
        first = sequence.num_registered_blocks
        if num_tokens // BLOCK_SIZE > first:
            for number, block_hash in enumerate(sequence.block_hashes(num_tokens)[first:], first):
                self.pool.register(sequence.blocks[number], block_hash)
            sequence.num_registered_blocks = num_tokens // BLOCK_SIZE

    def schedule(self, *, async_scheduling: bool) -> SchedulerOutput:
        """Choose the tokens of the next step, and count them as computed.

        Args:
            async_scheduling: also schedule tokens that are still being sampled.
        """
        self._admit()
        active = self._active()
        heaviest = self._heaviest_group(active)
        output = SchedulerOutput()
        generates = any(not self._is_prefill(one) for one in active)
        budget = self._costs.of_chunk(0, self.max_prefill_tokens if generates else self._max_idle_prefill_tokens)
        if heaviest is None:
            self._schedule(active, output, budget, async_scheduling)
            return output
        # The other groups first, so that they get the prompt tokens of the step.
        others = [one for one in active if one.group != heaviest]
        budget = self._schedule(others, output, budget, async_scheduling)
        is_decode = bool(output.decodes) and not output.prefills and not output.encodes
        turn = self.turns.next(heaviest)
        if turn.takes_part or output.is_empty:
            self._schedule([one for one in active if one.group == heaviest], output, budget, async_scheduling)
        return SchedulerOutput(
            # A sequence of the heaviest group may have preempted a younger one.
            [one for one in output.prefills if one.sequence.slot is not None],
            [one for one in output.decodes if one.sequence.slot is not None],
            [one for one in output.encodes if one.slot is not None],
            output.encoder_budget,
            turn if is_decode else None,
        )

    def _schedule(
        self, sequences: list[Sequence], output: SchedulerOutput, budget: float, async_scheduling: bool
    ) -> float:
        """Add the next tokens of these sequences to a step.

        Args:
            budget: for prompts and media, as of ``StepCosts``.

        Returns:
            What is left of the budget.
        """
        for sequence in sequences:
            if sequence.slot is None:
                continue  # preempted by an older sequence in this call
            if sequence.pending:
                # The mask of a grammar needs the token before it, so such a row is not computed ahead.
                can_look_ahead = len(sequence.pending) == 1 and not sequence.controller.has_grammar_now
                if async_scheduling and can_look_ahead and self._allocate_lookahead(sequence):
                    output.decodes.append(self._take(sequence, sequence.num_tokens + 1, is_lookahead=True))
            elif self._is_prefill(sequence):
                budget = self._schedule_prompt(sequence, output, budget)
            elif self._allocate(sequence, sequence.num_tokens):
                output.decodes.append(self._take(sequence, sequence.num_tokens))
        return budget

    def _schedule_prompt(self, sequence: Sequence, output: SchedulerOutput, budget: float) -> float:
        """Add media or prompt tokens of a sequence to a step, and return what is left of the budget."""
        cost = sequence.encoder_cost_left
        if cost > 0:
            # Only the first one may be encoded in part: a pass with media of others would end them later, too.
            if budget < 1 or not self._may_encode(sequence, output) or (cost > budget and output.encodes):
                return budget
            output.encodes.append(sequence)
            output.encoder_budget += min(budget, cost)
            budget -= min(budget, cost)
        if budget < 1:
            return budget
        start = sequence.num_computed_tokens
        end = min(sequence.num_tokens, start + self._costs.chunk_tokens(budget, start))
        is_rest = output.prefills and end < sequence.num_tokens
        if is_rest and end - start < MIN_CHUNK_SHARE * self.max_prefill_tokens:
            return budget  # the next step computes more of it at once
        if self._allocate(sequence, end):
            budget -= self._costs.of_chunk(start, end)
            output.prefills.append(self._take(sequence, end))
        return budget

    def _may_encode(self, sequence: Sequence, output: SchedulerOutput) -> bool:
        """Return whether the embeddings of this sequence's media may be added to those that wait for their prompts."""
        waiting = sum(one.num_media_tokens for one in self.running if self._holds_media(one))
        waiting += sum(one.num_media_tokens for one in output.encodes)
        return waiting == 0 or waiting + sequence.num_media_tokens <= MAX_WAITING_MEDIA_TOKENS

    @staticmethod
    def _holds_media(sequence: Sequence) -> bool:
        return sequence.encoder_cost_left == 0 and sequence.num_computed_tokens < sequence.num_prompt_tokens

    def _active(self) -> list[Sequence]:
        """Return the running sequences that do not pause: the youngest of the largest groups do."""
        active = list(self.running)
        counts = Counter(one.group for one in active) if self.num_paused else Counter[str]()
        for _ in range(self.num_paused):
            largest = max(counts, key=lambda one: counts[one])
            active.remove(next(one for one in reversed(active) if one.group == largest))
            counts[largest] -= 1
        return active

    def _heaviest_group(self, active: list[Sequence]) -> str | None:
        """Return the group with the most sequences, or with the most tokens to compute; None if only one runs."""
        counts, tokens = Counter[str](), Counter[str]()
        for one in active:
            counts[one.group] += 1
            tokens[one.group] += min(one.num_uncomputed, self.max_prefill_tokens)
        return max(counts, key=lambda one: (counts[one], tokens[one])) if len(counts) > 1 else None

    @staticmethod
    def _is_prefill(sequence: Sequence) -> bool:
        return sequence.num_computed_tokens < sequence.num_prompt_tokens or sequence.num_uncomputed > MAX_DECODE_ROWS

    def _take(self, sequence: Sequence, end: int, *, is_lookahead: bool = False) -> ScheduledTokens:
        pending = None
        if end >= sequence.num_tokens:
            controller = sequence.controller
            allowed_ids = controller.allowed_ids() if controller.has_grammar_now else None
            pending = PendingToken(sequence, end, controller.suppressed_ids, allowed_ids)
            sequence.pending.append(pending)
        start = sequence.num_tokens if is_lookahead else sequence.num_computed_tokens
        if not is_lookahead:
            sequence.num_computed_tokens = end
        return ScheduledTokens(sequence, start, end, pending, is_lookahead)

    def _admit(self) -> None:
        """Start waiting sequences whose known tokens fit, with one block to spare for each running sequence."""
        while self.waiting:
            counts = Counter(one.group for one in self._active())
            sequence = min(self.waiting, key=lambda one: counts[one.group])  # the first of the smallest group
            needed = blocks_needed(sequence.num_tokens + 1)
            has_turn = len(self.running) < self.slots or self._is_smaller(sequence.group, counts)
            # At least the last token is computed: its logits give the next one.
            cached = self.pool.find(sequence.block_hashes(sequence.num_tokens - 1))
            taken = self.pool.num_taken(needed, cached)
            has_blocks = not self.running or self.pool.num_free >= taken + len(self.running)
            blocks = self.pool.allocate(needed, cached) if has_turn and self._free_slots and has_blocks else None
            if blocks is not None:
                self.waiting.remove(sequence)
                sequence.enter_slot(self._free_slots.pop(), blocks, len(cached))
                self.running.append(sequence)
                self.prefix_cache_queries += sequence.num_tokens
                self.prefix_cache_hits += sequence.num_cached_tokens
            elif not self._preempt_larger_group(counts, sequence.group):
                return

    @staticmethod
    def _is_smaller(group: str, counts: Counter[str]) -> bool:
        """Return whether another group would still have as many active sequences if this one got one more."""
        return max(counts.values(), default=0) > counts[group] + 1

    def _preempt_larger_group(self, counts: Counter[str], group: str) -> bool:
        """Preempt the youngest sequence of the largest group; False if ``group`` would then be larger than that one."""
        if not self._is_smaller(group, counts):
            return False
        largest = max(counts, key=lambda one: counts[one])
        self._preempt(next(one for one in reversed(self.running) if one.group == largest))
        return True

    def _allocate(self, sequence: Sequence, num_tokens: int) -> bool:
        """Allocate blocks, preempting others, those that pause first. Returns False if it was preempted itself."""
        while (missing := blocks_needed(num_tokens) - len(sequence.blocks)) > 0:
            if (blocks := self.pool.allocate(missing)) is not None:
                sequence.blocks.extend(blocks)
                break
            active = self._active()
            victim = next((one for one in reversed(self.running) if one not in active), self.running[-1])
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _allocate_lookahead(self, sequence: Sequence) -> bool:
        """Allocate blocks for one more token without preemption: a look-ahead token is not worth it."""
        missing = blocks_needed(sequence.num_tokens + 1) - len(sequence.blocks)
        if missing > 0:
            blocks = self.pool.allocate(missing)
            sequence.blocks.extend(blocks or ())
            return blocks is not None
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self.running.remove(sequence)
        self._free_slots.append(sequence.slot)
        self.pool.release(sequence.blocks)
        sequence.slot, sequence.blocks = None, []
        sequence.reset_device_state()
