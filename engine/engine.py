"""The engine: submit, step, abort. Sequences join and leave the batch at every step (continuous batching)."""

from collections import deque
from collections.abc import Sequence as Items
from typing import Any

from PIL import Image

from engine.config import EngineConfig
from engine.core.grammar import GrammarCompiler
from engine.core.scheduler import Scheduler
from engine.core.sequence import OnEvent, Sequence
from engine.core.thinking import CHARACTER_GRACE, ThinkingController
from engine.errors import SequenceError
from engine.inputs.prefix import block_hashes, media_spans
from engine.inputs.processor import InputProcessor, Video
from engine.loading.allocate import allocate
from engine.loading.model_loader import Device, Dtype, LoadedModel, load_model
from engine.request import ModelInputs, Request
from engine.runner.sampler import SAMPLING_VERSION
from engine.stats import EngineStats
from engine.step_executor import InFlightStep, StepExecutor
from families import Family, SamplingDefaults


class Engine:
    """Serves one loaded model.

    ``submit``, ``step`` and ``abort`` belong to one thread (see ``EngineLoop``). ``prepare``, ``compile_grammar``
    and ``stats`` may be called from any thread.

    With ``async_scheduling`` the next step is launched before the tokens of the last one are read: their ids are on
    the device already. If a token ends its sequence or closes its thinking, one row of the next step is discarded.

    Args:
        loaded: a model from ``load_model``.
        config: limits; default: what fits the device.
        async_scheduling: default: on a GPU.
    """

    def __init__(
        self, loaded: LoadedModel, config: EngineConfig | None = None, *, async_scheduling: bool | None = None
    ) -> None:
        self.context_tokens = loaded.context_tokens
        self.revision = f"{loaded.revision}+s{SAMPLING_VERSION}"
        """Identifies the weights and the rule of sampling: tokens of another revision must not be continued."""
        self.sampling_defaults: SamplingDefaults = loaded.sampling_defaults
        self.tokenizer_info = loaded.tokenizer_info
        self._input_processor = InputProcessor(
            loaded.tokenizer, loaded.image_processor, loaded.family, loaded.model.dtype
        )
        config = config or EngineConfig()
        self._has_prefix_cache = config.prefix_cache
        allocation = allocate(loaded, config)
        self.attention = allocation.attention
        """Name of the attention implementation, for logs."""
        self._runner = allocation.runner
        self._grammars = GrammarCompiler(self.tokenizer_info, vocab_size=loaded.model.config.text_config.vocab_size)
        self._scheduler = Scheduler(
            allocation.pool,
            slots=allocation.slots,
            reserve_slots=allocation.reserve_slots,
            max_prefill_tokens=allocation.max_prefill_tokens,
            max_idle_prefill_tokens=allocation.max_idle_prefill_tokens,
            costs=allocation.costs,
        )
        self._max_sequence_tokens = min(self.context_tokens, allocation.pool.num_tokens)
        is_cuda = loaded.model.device.type == "cuda"
        self._async_scheduling = is_cuda if async_scheduling is None else async_scheduling
        self._in_flight: deque[InFlightStep] = deque()
        self._executor = StepExecutor(self._scheduler, self._runner)

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
        """Load a model from a folder or hub id, and allocate its KV cache.

        Raises:
            ModelLoadError
        """
        return cls(load_model(name, revision=revision, device=device, dtype=dtype, family=family), config)

    def prepare(
        self,
        messages: Items[dict[str, Any]],
        images: Items[Image.Image],
        videos: Items[Video] = (),
        *,
        enable_thinking: bool = True,
    ) -> ModelInputs:
        """Convert a conversation to tensors on the CPU (see ``InputProcessor.process``)."""
        return self._input_processor.process(messages, images, videos, enable_thinking=enable_thinking)

    def compile_grammar(self, grammar: str) -> None:
        """Compile a grammar ahead of its request, in the caller's thread, so that ``submit`` is quick.

        Raises:
            SequenceError: the grammar is not valid.
        """
        self._grammars.matcher(grammar)

    @property
    def is_idle(self) -> bool:
        return self._scheduler.is_idle and not self._in_flight

    @property
    def slots(self) -> int:
        """Sequences that can run at the same time."""
        return self._scheduler.slots

    @property
    def kv_tokens(self) -> int:
        """Tokens of all sequences together that the KV cache holds."""
        return self._scheduler.pool.num_tokens

    def stats(self) -> EngineStats:
        scheduler = self._scheduler
        return EngineStats(
            slots=scheduler.slots,
            running=len(scheduler.running) - scheduler.num_paused,
            waiting=len(scheduler.waiting) + scheduler.num_paused,
            kv_tokens=scheduler.pool.num_tokens,
            kv_free_tokens=scheduler.pool.num_free * (scheduler.pool.num_tokens // scheduler.pool.num_blocks),
            steps=self._executor.steps,
            busy_s=self._executor.busy_s,
            sampled_tokens=self._executor.sampled_tokens,
            prefill_tokens=self._executor.prefill_tokens,
            num_preemptions=scheduler.num_preemptions,
            prefix_cache_queries=scheduler.prefix_cache_queries,
            prefix_cache_hits=scheduler.prefix_cache_hits,
            encoded_media=self._runner.encoded_media,
        )

    def submit(self, request: Request, on_event: OnEvent) -> Sequence:
        """Queue a request.

        Raises:
            SequenceError: the request does not fit the context, its grammar is not valid, or its journal does not match
                its settings.
        """
        controller = self._thinking_controller(request)
        inputs, sizes = request.inputs, self._runner.vision_encoder.sizes_of(request.inputs)
        media = media_spans(inputs, sizes)
        # Includes the group: the time of a first token must not show what another group has asked.
        root = f"{self.revision}\n{request.group}".encode()
        sequence = Sequence(
            request, on_event, self.tokenizer_info, controller, len(inputs),
            num_media_tokens=int((inputs.mm_token_type_ids > 0).sum()),
            encoder_cost=sum(cost for _, cost in sizes),
            media=media,
            hashes=block_hashes(inputs, media, root) if self._has_prefix_cache else None,
        )  # fmt: skip
        sequence.start()
        if (reason := sequence.controller.finish_reason) is not None:
            on_event(sequence.finished(reason))
        else:
            self._scheduler.add(sequence)
        return sequence

    def abort(self, request_id: str) -> bool:
        """End a sequence now, with the tokens it has. Returns False if there is none with this id."""
        sequence = self._scheduler.find(request_id)
        if sequence is None:
            return False
        self._scheduler.remove(sequence)
        sequence.on_event(sequence.finished("aborted"))
        return True

    def step(self) -> None:
        """Launch one step for all running sequences, then process the tokens of the step before it.

        Without ``async_scheduling``, process the step's own tokens. An error of one sequence ends only that sequence.

        Raises:
            DeviceLost: this process cannot use the device any more.
        """
        if not self._in_flight:
            self._executor.start_clock()
        output = self._scheduler.schedule(async_scheduling=self._async_scheduling)
        has_work = not output.is_empty
        if has_work:
            self._in_flight.append(self._executor.launch(output))
        while len(self._in_flight) > (1 if self._async_scheduling and has_work else 0):
            self._executor.process(self._in_flight.popleft())

    def fail_all(self, code: str, message: str) -> None:
        """End every sequence with an error, without using the device."""
        self._in_flight.clear()
        self._executor.fail([*self._scheduler.running, *self._scheduler.waiting], code, message)

    def _thinking_controller(self, request: Request) -> ThinkingController:
        prompt, answer, total = len(request.inputs), request.max_answer_tokens, request.max_total_tokens
        budget = request.thinking_budget
        if total is not None:
            budget = total - 1 if budget < 0 else min(budget, total - 1)
            answer = min(answer, total - budget)
        closing = len(self.tokenizer_info.special_tokens.closing)
        # An opening token and an incomplete character may be added to the thinking.
        max_thinking = self._max_sequence_tokens - prompt - closing - answer - CHARACTER_GRACE - 1
        needed = max(budget, 1)
        if max_thinking < needed:
            is_context = self._max_sequence_tokens == self.context_tokens
            reserved = f"and {answer} are reserved for the answer"
            if budget > 0:
                reserved = f"{budget} are reserved for thinking, and {answer} for the answer"
            limit = "the model's context" if is_context else "this worker's KV cache"
            raise SequenceError(
                "context_exceeded",
                f"The request is {needed - max_thinking} tokens too long for {limit} of "
                f"{self._max_sequence_tokens} tokens: the prompt has {prompt}, {reserved}. "
                "Send less input, or lower the thinking budget, max_answer_tokens or max_total_tokens.",
            )
        return ThinkingController(
            self.tokenizer_info,
            budget=budget,
            max_thinking_tokens=max_thinking,
            max_answer_tokens=request.max_answer_tokens,
            max_total_tokens=total,
            thinking_closed=request.inputs.thinking_closed,
            grammar=self._grammars.matcher(request.grammar) if request.grammar is not None else None,
        )
