"""The engine: submit, step, abort. Sequences join and leave the batch at every step."""

import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from engine.config import EngineConfig
from engine.core.scheduler import ScheduledTokens, Scheduler, SchedulerOutput
from engine.core.sequence import OnEvent, PendingToken, Sequence
from engine.core.thinking import CHARACTER_GRACE, StagedGeneration
from engine.errors import DeviceLost, SequenceError
from engine.events import Failed
from engine.inputs.processor import InputProcessor, Video
from engine.loading.allocate import allocate
from engine.loading.model_loader import Device, Dtype, LoadedModel, load
from engine.request import ModelInputs, Request
from engine.runner.device import is_device_error
from engine.runner.model_runner import SampledTokens
from engine.runner.sampler import NAN_TOKEN
from engine.stats import EngineStats
from families import Family, SamplingDefaults


@dataclass(frozen=True, slots=True)
class InFlightStep:
    """One step's work on the device."""

    spans: list[ScheduledTokens]
    drawn: list[SampledTokens]


class Engine:
    """``submit``, ``step`` and ``abort`` belong to one thread (see EngineLoop); ``prepare`` and ``stats`` to any.

    On a GPU the next step is launched before the tokens of the last one are read: the device knows them, and what
    follows from them (an end, a closed thought) costs one row that is thrown away.
    """

    def __init__(
        self, loaded: LoadedModel, config: EngineConfig | None = None, *, async_scheduling: bool | None = None
    ) -> None:
        """``ahead``: whether to launch before reading; default: on a GPU."""
        self.context_tokens = loaded.context_tokens
        self.revision = loaded.revision
        """Names the weights: tokens of another revision must not be continued."""
        self.sampling_defaults: SamplingDefaults = loaded.sampling_defaults
        self.tokenizer_info = loaded.tokenizer_info
        self._input_processor = InputProcessor(loaded.tokenizer, loaded.image_processor, loaded.family)
        residence = allocate(loaded, config or EngineConfig())
        self.attention = residence.attention
        """What computes attention, for the logs."""
        self.runner = residence.runner
        self._scheduler = Scheduler(
            residence.pool, slots=residence.slots, max_prefill_tokens=residence.max_prefill_tokens
        )
        self._longest = min(self.context_tokens, residence.pool.tokens)
        self._async_scheduling = loaded.model.device.type == "cuda" if async_scheduling is None else async_scheduling
        self._flights: deque[InFlightStep] = deque()
        self._settled_at = 0.0
        self._steps = self._sampled = self._prefilled = 0

    @classmethod
    def load(
        cls,
        name: str,
        *,
        revision: str,
        device: Device,
        dtype: Dtype,
        family: Family,
        config: EngineConfig | None = None,
    ) -> "Engine":
        """Load a folder or hub id and keep it resident.

        Raises:
            ModelLoadError
        """
        return cls(load(name, revision=revision, device=device, dtype=dtype, family=family), config)

    def prepare(
        self,
        messages: Items[dict[str, Any]],
        images: Items[Image.Image],
        videos: Items[Video] = (),
        *,
        enable_thinking: bool = True,
    ) -> ModelInputs:
        """Tensors for a conversation; work for the CPU, from any thread (see InputProcessor)."""
        return self._input_processor.process(messages, images, videos, enable_thinking=enable_thinking)

    @property
    def is_idle(self) -> bool:
        return self._scheduler.is_idle and not self._flights

    @property
    def slots(self) -> int:
        return self._scheduler.slots

    @property
    def kv_tokens(self) -> int:
        """What the KV cache holds, of all sequences together."""
        return self._scheduler.pool.tokens

    def stats(self) -> EngineStats:
        scheduler = self._scheduler
        return EngineStats(
            slots=scheduler.slots,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_tokens=scheduler.pool.tokens,
            kv_free_tokens=scheduler.pool.free * (scheduler.pool.tokens // scheduler.pool.blocks),
            steps=self._steps,
            sampled_tokens=self._sampled,
            prefill_tokens=self._prefilled,
            num_preemptions=scheduler.num_preemptions,
            encoded_media=self.runner.vision_passes,
        )

    def submit(self, request: Request, on_event: OnEvent) -> Sequence:
        """Put a request in line.

        Raises:
            SequenceError: it does not fit the context, or its journal does not fit its settings.
        """
        sequence = Sequence(request, on_event, self.tokenizer_info, self._stages(request), len(request.inputs))
        sequence.start()
        if (reason := sequence.control.finish_reason) is not None:
            on_event(sequence.ended(reason))
        else:
            self._scheduler.add(sequence)
        return sequence

    def abort(self, request_id: str) -> bool:
        """End a sequence now, with what it has. False: there is none of this id."""
        sequence = self._scheduler.find(request_id)
        if sequence is None:
            return False
        self._scheduler.remove(sequence)
        sequence.on_event(sequence.ended("aborted"))
        return True

    def step(self) -> None:
        """Launch one step for all that run, and read the tokens of the one before it (without ``ahead``: its own).

        What goes wrong with a sequence ends it, and nothing else.

        Raises:
            DeviceLost: nothing can run on this device any more, in this process.
        """
        if not self._flights:
            self._settled_at = time.monotonic()
        plan = self._scheduler.schedule(async_scheduling=self._async_scheduling)
        if plan.prefills or plan.decode:
            self._flights.append(self._launch(plan))
            self._steps += 1
        while len(self._flights) > (1 if self._async_scheduling and plan.decode + plan.prefills else 0):
            self._settle(self._flights.popleft())

    def fail_all(self, code: str, message: str) -> None:
        """End every sequence with an error, without a word to the device."""
        self._flights.clear()
        self._fail([*self._scheduler.running, *self._scheduler.waiting], code, message)

    def _stages(self, request: Request) -> StagedGeneration:
        prompt, answer = len(request.inputs), request.max_answer_tokens
        closing = len(self.tokenizer_info.special_tokens.closing)
        # An opening mark and a character that is not complete may come on top.
        room = self._longest - prompt - closing - answer - CHARACTER_GRACE - 1
        wanted = max(request.thinking_budget, 0)
        if room < max(wanted, 1):
            holder = "the model's" if self._longest == self.context_tokens else "this worker's KV cache of"
            raise SequenceError(
                "context_exceeded",
                f"The prompt has {prompt} tokens; with {wanted} for thinking and {answer} for the answer it does not "
                f"fit {holder} {self._longest}. Ask for less, or send less.",
            )
        return StagedGeneration(
            self.tokenizer_info,
            budget=request.thinking_budget,
            room=room,
            max_answer_tokens=answer,
            thinking_closed=request.inputs.thinking_closed,
        )

    def _launch(self, plan: SchedulerOutput) -> InFlightStep:
        drawn: list[SampledTokens] = []
        # Before, not behind: a CPU's call comes back when all is read.
        now = time.monotonic()
        for span in plan.spans:
            span.sequence.read_at = span.sequence.read_at or now
        for span in plan.prefills:
            with self._failing([span.sequence]):
                if (tokens := self.runner.prefill(span)) is not None:
                    drawn.append(tokens)
                self._prefilled += span.end - span.start
        if plan.decode:
            with self._failing([span.sequence for span in plan.decode]):
                drawn.append(self.runner.decode(plan.decode))
        return InFlightStep(plan.spans, drawn)

    def _settle(self, flight: InFlightStep) -> None:
        """Read what the device has drawn, and give each sequence its token."""
        for drawn in flight.drawn:
            try:
                tokens = drawn.read()
            except RuntimeError as error:
                raise DeviceLost(str(error)) from error
            for draw, token in zip(drawn.draws, tokens, strict=True):
                if not draw.is_void:
                    with self._failing([draw.sequence]):
                        self._take(draw, token)
        self._charge(flight)

    def _take(self, draw: PendingToken, token: int) -> None:
        sequence = draw.sequence
        sequence.draws.popleft()
        if token == NAN_TOKEN:
            raise SequenceError("model_nan", "The model gave no numbers (NaN) for this input.")
        self._sampled += 1
        sequence.take(token)
        if (reason := sequence.control.finish_reason) is not None:
            self._scheduler.remove(sequence)
            sequence.on_event(sequence.ended(reason))
        elif sequence.draws:
            self._judge_guess(sequence, draw.position, token)

    def _judge_guess(self, sequence: Sequence, place: int, token: int) -> None:
        """The device has read ``token`` at ``place`` already, and draws behind it. Does that stand?"""
        if sequence.behind_prompt(place, place + 1) == [token]:
            sequence.computed = place + 1
        else:
            self.runner.forget_guess(sequence)
        guess = sequence.draws[0]
        if sequence.length != place + 1 or guess.suppressed_ids != sequence.control.suppressed_ids:
            guess.is_void = True
            sequence.draws.clear()
            # Its last token is read again, for the draw behind it.
            sequence.computed = min(sequence.computed, sequence.length - 1)

    def _charge(self, flight: InFlightStep) -> None:
        """Share the time since the last step by tokens read."""
        now = time.monotonic()
        took_ms, self._settled_at = (now - self._settled_at) * 1000, now
        tokens = sum(span.end - span.start for span in flight.spans)
        for span in flight.spans:
            span.sequence.device_ms += took_ms * (span.end - span.start) / tokens

    @contextmanager
    def _failing(self, sequences: Items[Sequence]) -> Iterator[None]:
        """What goes wrong inside ends these sequences."""
        try:
            yield
        except SequenceError as error:
            self._fail(sequences, error.code, error.message)
        except torch.OutOfMemoryError:
            self._fail(sequences, "out_of_memory", "The device has no memory left for this request.")
            torch.cuda.empty_cache()
        except Exception as error:
            if is_device_error(error):
                raise DeviceLost(str(error)) from error
            message = f"The engine failed on this request: {type(error).__name__}: {error}"
            self._fail(sequences, "engine_error", message)

    def _fail(self, sequences: Items[Sequence], code: str, message: str) -> None:
        for sequence in sequences:
            self._scheduler.remove(sequence)
            sequence.on_event(Failed(code, message))
