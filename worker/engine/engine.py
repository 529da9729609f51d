"""The engine: submit, step, abort. One sequence runs at a time; the others wait in the order of their coming."""

import time
from collections import deque
from collections.abc import Sequence as Items
from typing import Any

import torch
from PIL import Image

from families import Family, SamplingDefaults
from worker.engine.errors import SequenceError
from worker.engine.events import Failed
from worker.engine.inputs import InputBuilder, ModelInputs, Video
from worker.engine.loading import Device, Dtype, LoadedModel, load
from worker.engine.request import OnEvent, Request
from worker.engine.runner import Runner
from worker.engine.sampler import sample
from worker.engine.sequence import Sequence
from worker.engine.thinking import CHARACTER_GRACE, StagedGeneration


class Engine:
    """``submit``, ``step`` and ``abort`` belong to one thread (see EngineLoop); ``prepare`` to any."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.context_tokens = loaded.context_tokens
        self.revision = loaded.revision
        """Names the weights: tokens of another revision must not be continued."""
        self.sampling_defaults: SamplingDefaults = loaded.sampling_defaults
        self.vocabulary = loaded.vocabulary
        self.runner = Runner(loaded.model)
        self._inputs = InputBuilder(loaded.tokenizer, loaded.image_processor, loaded.family)
        self._waiting: deque[Sequence] = deque()
        self._running: Sequence | None = None

    @classmethod
    def load(cls, name: str, *, revision: str, device: Device, dtype: Dtype, family: Family) -> "Engine":
        """Load a folder or hub id and keep it resident.

        Raises:
            ModelUnusable
        """
        return cls(load(name, revision=revision, device=device, dtype=dtype, family=family))

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
        return self._running is None and not self._waiting

    def submit(self, request: Request, on_event: OnEvent) -> Sequence:
        """Put a request in line.

        Raises:
            SequenceError: it does not fit the context, or its journal does not fit its settings.
        """
        sequence = Sequence(request, on_event, self.vocabulary, self._stages(request))
        sequence.start()
        self._waiting.append(sequence)
        return sequence

    def abort(self, request_id: str) -> bool:
        """End a sequence now, with what it has. False: there is none of this id."""
        for sequence in [*self._waiting, *([self._running] if self._running else [])]:
            if sequence.request.id == request_id:
                self._drop(sequence)
                sequence.on_event(sequence.ended("aborted"))
                return True
        return False

    def step(self) -> None:
        """Make one token of the running sequence. What goes wrong with it ends it, and nothing else."""
        if self._running is None:
            if not self._waiting:
                return
            self._running = self._waiting.popleft()
        sequence = self._running
        try:
            if not sequence.is_finished:
                self._advance(sequence)
        except SequenceError as error:
            self._fail(sequence, error.code, error.message)
        except torch.OutOfMemoryError:
            self._fail(sequence, "out_of_memory", "The device has no memory left for this request.")
            torch.cuda.empty_cache()
        except Exception as error:  # noqa: BLE001 - a bad tensor of one sequence must not end the others
            self._fail(sequence, "engine_error", f"The engine failed on this request: {type(error).__name__}: {error}")
        else:
            if (reason := sequence.control.finish_reason) is not None:
                self._drop(sequence)
                sequence.on_event(sequence.ended(reason))

    def _stages(self, request: Request) -> StagedGeneration:
        prompt, answer = len(request.inputs), request.max_answer_tokens
        closing = len(self.vocabulary.marks.closing)
        # An opening mark and a character that is not complete may come on top.
        room = self.context_tokens - prompt - closing - answer - CHARACTER_GRACE - 1
        wanted = max(request.thinking_budget, 0)
        if room < max(wanted, 1):
            raise SequenceError(
                "context_exceeded",
                f"The prompt has {prompt} tokens; with {wanted} for thinking and {answer} for the answer it does not "
                f"fit the model's {self.context_tokens}. Ask for less, or send less.",
            )
        return StagedGeneration(
            self.vocabulary,
            budget=request.thinking_budget,
            room=room,
            max_answer_tokens=answer,
            is_answering=request.inputs.is_answering,
        )

    def _advance(self, sequence: Sequence) -> None:
        started = time.monotonic()
        is_prefill = sequence.cache is None
        if is_prefill:
            sequence.cache, logits = self.runner.prefill(sequence.request.inputs, sequence.unread)
            sequence.prefills += 1
        else:
            logits = self.runner.decode(sequence.cache, sequence.unread)
        sequence.unread.clear()
        behind = [token.id for token in sequence.tokens]
        seen = torch.cat([sequence.request.inputs.input_ids, torch.tensor(behind, dtype=torch.int64)])
        token = sample(
            logits,
            sequence.request.sampling,
            seen=torch.unique(seen).to(logits.device),
            masked=sequence.control.masked,
            position=len(seen),
        )
        took_ms = (time.monotonic() - started) * 1000
        if is_prefill:
            sequence.prefill_ms += took_ms
        else:
            sequence.decode_ms += took_ms
        sequence.take(token)

    def _fail(self, sequence: Sequence, code: str, message: str) -> None:
        self._drop(sequence)
        sequence.on_event(Failed(code, message))

    def _drop(self, sequence: Sequence) -> None:
        sequence.cache = None
        if sequence is self._running:
            self._running = None
        else:
            self._waiting.remove(sequence)
