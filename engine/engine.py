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

from engine.config import EngineLimits
from engine.core.scheduler import Plan, Scheduler, Span
from engine.core.sequence import Draw, OnEvent, Sequence
from engine.core.thinking import CHARACTER_GRACE, StagedGeneration
from engine.errors import DeviceLost, SequenceError
from engine.events import Failed
from engine.inputs.processor import InputBuilder, ModelInputs, Video
from engine.loading.allocate import reside
from engine.loading.model_loader import Device, Dtype, LoadedModel, load
from engine.request import Request
from engine.runner.model_runner import Drawn
from engine.runner.sampler import BROKEN
from families import Family, SamplingDefaults


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine at one moment; counts are since its start."""

    slots: int
    running: int
    waiting: int
    kv_tokens: int
    """What the KV cache holds."""
    kv_free: int
    steps: int
    sampled_tokens: int
    prefill_tokens: int
    put_backs: int
    vision_passes: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """One step's work on the device."""

    spans: list[Span]
    drawn: list[Drawn]


class Engine:
    """``submit``, ``step`` and ``abort`` belong to one thread (see EngineLoop); ``prepare`` and ``stats`` to any.

    On a GPU the next step is launched before the tokens of the last one are read: the device knows them, and what
    follows from them (an end, a closed thought) costs one row that is thrown away.
    """

    def __init__(self, loaded: LoadedModel, limits: EngineLimits | None = None, *, ahead: bool | None = None) -> None:
        """``ahead``: whether to launch before reading; default: on a GPU."""
        self.context_tokens = loaded.context_tokens
        self.revision = loaded.revision
        """Names the weights: tokens of another revision must not be continued."""
        self.sampling_defaults: SamplingDefaults = loaded.sampling_defaults
        self.vocabulary = loaded.vocabulary
        self._inputs = InputBuilder(loaded.tokenizer, loaded.image_processor, loaded.family)
        residence = reside(loaded, limits or EngineLimits())
        self.attention = residence.attention
        """What computes attention, for the logs."""
        self.runner = residence.runner
        self._scheduler = Scheduler(residence.pool, slots=residence.slots, chunk_tokens=residence.chunk_tokens)
        self._longest = min(self.context_tokens, residence.pool.tokens)
        self._ahead = loaded.model.device.type == "cuda" if ahead is None else ahead
        self._flights: deque[_Flight] = deque()
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
        limits: EngineLimits | None = None,
    ) -> "Engine":
        """Load a folder or hub id and keep it resident.

        Raises:
            ModelUnusable
        """
        return cls(load(name, revision=revision, device=device, dtype=dtype, family=family), limits)

    def prepare(
        self,
        messages: Items[dict[str, Any]],
        pictures: Items[Image.Image],
        videos: Items[Video] = (),
        *,
        is_thinking: bool = True,
    ) -> ModelInputs:
        """Tensors for a conversation; work for the CPU, from any thread (see InputBuilder)."""
        return self._inputs.build(messages, pictures, videos, is_thinking=is_thinking)

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
            kv_free=scheduler.pool.free * (scheduler.pool.tokens // scheduler.pool.blocks),
            steps=self._steps,
            sampled_tokens=self._sampled,
            prefill_tokens=self._prefilled,
            put_backs=scheduler.put_backs,
            vision_passes=self.runner.vision_passes,
        )

    def submit(self, request: Request, on_event: OnEvent) -> Sequence:
        """Put a request in line.

        Raises:
            SequenceError: it does not fit the context, or its journal does not fit its settings.
        """
        sequence = Sequence(request, on_event, self.vocabulary, self._stages(request), len(request.inputs))
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
        plan = self._scheduler.plan(ahead=self._ahead)
        if plan.prefills or plan.decode:
            self._flights.append(self._launch(plan))
            self._steps += 1
        while len(self._flights) > (1 if self._ahead and plan.decode + plan.prefills else 0):
            self._settle(self._flights.popleft())

    def fail_all(self, code: str, message: str) -> None:
        """End every sequence with an error, without a word to the device."""
        self._flights.clear()
        self._fail([*self._scheduler.running, *self._scheduler.waiting], code, message)

    def _stages(self, request: Request) -> StagedGeneration:
        prompt, answer = len(request.inputs), request.max_answer_tokens
        closing = len(self.vocabulary.special_tokens.closing)
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
            self.vocabulary,
            budget=request.thinking_budget,
            room=room,
            max_answer_tokens=answer,
            is_answering=request.inputs.is_answering,
        )

    def _launch(self, plan: Plan) -> _Flight:
        drawn: list[Drawn] = []
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
        return _Flight(plan.spans, drawn)

    def _settle(self, flight: _Flight) -> None:
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

    def _take(self, draw: Draw, token: int) -> None:
        sequence = draw.sequence
        sequence.draws.popleft()
        if token == BROKEN:
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
        if sequence.length != place + 1 or guess.masked != sequence.control.masked:
            guess.is_void = True
            sequence.draws.clear()
            # Its last token is read again, for the draw behind it.
            sequence.computed = min(sequence.computed, sequence.length - 1)

    def _charge(self, flight: _Flight) -> None:
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


def is_device_error(error: BaseException) -> bool:
    """After such an error each later call to the device fails too: the CUDA context is gone."""
    accelerator_error = getattr(torch, "AcceleratorError", None)  # torch ≥ 2.8
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    return isinstance(error, RuntimeError) and ("CUDA error" in str(error) or "device-side assert" in str(error))
