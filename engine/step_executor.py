"""Executes the steps that the scheduler decides: launches their passes, and processes the sampled tokens."""

import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from engine.core.scheduler import Scheduler
from engine.core.scheduler_output import ScheduledTokens, SchedulerOutput
from engine.core.sequence import PendingToken, Sequence
from engine.core.turns import Turn
from engine.errors import DeviceLost, SequenceError
from engine.events import Failed
from engine.runner.device import is_device_error
from engine.runner.model_runner import ModelRunner, SampledTokens
from engine.runner.sampler import NAN_TOKEN


@dataclass(frozen=True, slots=True)
class InFlightStep:
    """A step that was launched and whose tokens the host has not read yet."""

    scheduled: list[ScheduledTokens]
    encodes: list[Sequence]
    """Sequences whose media were encoded, in part or whole."""
    sampled: list[SampledTokens]
    encoder_budget: float
    turn: Turn | None
    """As in ``SchedulerOutput``."""


class StepExecutor:
    """Launches steps and processes their tokens. An error of one sequence ends only that sequence."""

    def __init__(self, scheduler: Scheduler, runner: ModelRunner) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._accounted_at = 0.0
        self.steps = 0
        """Steps launched."""
        self.busy_s = 0.0
        """Time with a step in flight, in seconds."""
        self.sampled_tokens = 0
        self.prefill_tokens = 0

    def start_clock(self) -> None:
        """Start the time that the next processed step is charged with: no step was in flight before."""
        self._accounted_at = time.monotonic()

    def launch(self, output: SchedulerOutput) -> InFlightStep:
        """Run the prefills and the decode pass of a step. On a GPU they may still be running on return.

        Raises:
            DeviceLost
        """
        sampled: list[SampledTokens] = []
        # Taken before the passes: on a CPU they run to their end here.
        now = time.monotonic()
        for sequence in [*output.encodes, *(scheduled.sequence for scheduled in output.all)]:
            sequence.first_pass_at = sequence.first_pass_at or now
        self._encode(output.encodes, output.encoder_budget)
        self._prefill([one for one in output.prefills if one.sequence.slot is not None], sampled)  # media did not fail
        if output.decodes:
            with self._fail_on_error([scheduled.sequence for scheduled in output.decodes]):
                sampled.append(self._runner.decode(output.decodes))
        self.steps += 1
        return InFlightStep(output.all, output.encodes, sampled, output.encoder_budget, output.turn)

    def _encode(self, sequences: Items[Sequence], budget: float) -> None:
        """Encode media of these sequences. If that fails for all of them together, encode one after the other."""
        begun: list[Sequence] = []
        for sequence in sequences:
            with self._fail_on_error([sequence]):
                self._runner.begin_encoding(sequence)
                begun.append(sequence)
        if len(begun) > 1 and not self._succeeds(lambda: self._runner.encode(begun, budget)):
            for sequence in begun:
                with self._fail_on_error([sequence]):
                    self._runner.encode([sequence], sequence.encoder_cost_left)
        elif len(begun) == 1:
            with self._fail_on_error(begun):
                self._runner.encode(begun, budget)

    def _prefill(self, scheduled: Items[ScheduledTokens], sampled: list[SampledTokens]) -> None:
        """Run chunks in one pass where the device gains from that. If it fails, run one after the other."""

        def run(chunks: Items[ScheduledTokens]) -> None:
            if (tokens := self._runner.prefill(chunks)) is not None:
                sampled.append(tokens)
            self.prefill_tokens += sum(one.end - one.start for one in chunks)

        if self._runner.packs_prefills and len(scheduled) > 1 and self._succeeds(lambda: run(scheduled)):
            return
        for one in scheduled:
            with self._fail_on_error([one.sequence]):
                run([one])

    @staticmethod
    def _succeeds(work: Callable[[], object]) -> bool:
        """Run work for several sequences. False: it failed, and must be repeated for each of them.

        Raises:
            DeviceLost
        """
        try:
            work()
        except Exception as error:
            if is_device_error(error):
                raise DeviceLost(str(error)) from error
            return False
        return True

    def process(self, step: InFlightStep) -> None:
        """Read the sampled tokens of a step, and append each to its sequence.

        Raises:
            DeviceLost
        """
        for sampled in step.sampled:
            try:
                tokens = sampled.read()
            except RuntimeError as error:
                raise DeviceLost(str(error)) from error
            for pending, token in zip(sampled.pending, tokens, strict=True):
                if not pending.is_void:
                    with self._fail_on_error([pending.sequence]):
                        self._process_token(pending, token)
        self._account_time(step)

    def fail(self, sequences: Items[Sequence], code: str, message: str) -> None:
        """End these sequences with an error, without using the device."""
        for sequence in sequences:
            self._scheduler.remove(sequence)
            sequence.on_event(Failed(code, message))

    def _process_token(self, pending: PendingToken, token: int) -> None:
        sequence = pending.sequence
        sequence.pending.popleft()
        if token == NAN_TOKEN:
            raise SequenceError("model_nan", "The model returned NaN for this input.")
        self.sampled_tokens += 1
        self._scheduler.register_blocks(sequence, pending.position)
        sequence.append_sampled(token)
        if (reason := sequence.controller.finish_reason) is not None:
            self._scheduler.remove(sequence)
            sequence.on_event(sequence.finished(reason))
        elif sequence.pending:
            self._reconcile_lookahead(sequence, pending.position, token)

    def _reconcile_lookahead(self, sequence: Sequence, position: int, token: int) -> None:
        """Keep or discard the look-ahead row, which computed ``token`` at ``position``, now that the token is known."""
        if sequence.output_ids(position, position + 1) == [token]:
            sequence.num_computed_tokens = position + 1
        else:
            self._runner.rebuild_penalty_mask(sequence)
        lookahead = sequence.pending[0]
        if sequence.num_tokens != position + 1 or lookahead.suppressed_ids != sequence.controller.suppressed_ids:
            lookahead.is_void = True
            sequence.pending.clear()
            # Compute the last token again, to sample the token after it.
            sequence.num_computed_tokens = min(sequence.num_computed_tokens, sequence.num_tokens - 1)

    def _account_time(self, step: InFlightStep) -> None:
        """Distribute the time since the last step over its sequences, by tokens computed."""
        now = time.monotonic()
        elapsed_ms, self._accounted_at = (now - self._accounted_at) * 1000, now
        self.busy_s += elapsed_ms / 1000
        shares = [(scheduled.sequence, scheduled.end - scheduled.start) for scheduled in step.scheduled]
        shares += [(sequence, max(1, int(step.encoder_budget / len(step.encodes)))) for sequence in step.encodes]
        total = sum(share for _, share in shares)
        for sequence, share in shares:
            sequence.device_ms += elapsed_ms * share / total
        if step.turn is not None:
            self._scheduler.turns.record(step.turn, elapsed_ms / 1000)

    @contextmanager
    def _fail_on_error(self, sequences: Items[Sequence]) -> Iterator[None]:
        """End these sequences if the body raises."""
        try:
            yield
        except SequenceError as error:
            self.fail(sequences, error.code, error.message)
        except torch.OutOfMemoryError:
            self.fail(sequences, "out_of_memory", "The device has no memory left for this request; retry it later.")
            torch.cuda.empty_cache()
        except Exception as error:
            if is_device_error(error):
                raise DeviceLost(str(error)) from error
            message = f"The engine failed on this request: {type(error).__name__}: {error}"
            self.fail(sequences, "engine_error", message)
