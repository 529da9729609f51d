"""State of one request in the engine: its tokens, phase, texts and counters, and what it occupies on the device."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.core.block_hashes import BlockHashes, MediaSpan
from engine.core.block_pool import BLOCK_SIZE
from engine.core.detokenizer import Detokenizer
from engine.core.stop_strings import StopMatcher
from engine.core.thinking import ThinkingController
from engine.core.tokenizer_info import TokenizerInfo
from engine.events import Delta, Event, Finished, FinishReason, Phase, Token
from engine.request import Request

OnEvent = Callable[[Event], None]
"""Called from the engine's thread: it must return quickly and must not raise."""


@dataclass(eq=False, slots=True)
class PendingToken:
    """A token that the device samples, and that the host has not read yet."""

    sequence: "Sequence"
    position: int
    """Position of the token in its sequence, prompt included."""
    suppressed_ids: tuple[int, ...]
    """Ids that could not be sampled."""
    allowed_ids: bytes | None = None
    """Ids that a grammar allows, as of ``GrammarMatcher.mask``; None: all."""
    is_void: bool = False
    """The result is ignored: an earlier token differs from the assumption, or the sequence has left."""


@dataclass(eq=False)
class Sequence:
    """One request in the engine."""

    request: Request
    on_event: OnEvent
    tokenizer_info: TokenizerInfo
    controller: ThinkingController
    num_prompt_tokens: int
    tokens: list[Token] = field(default_factory=list)
    """Output tokens."""
    num_media_tokens: int = 0
    """Image tokens of the prompt."""
    encoder_cost: float = 0.0
    """Cost of encoding all media of the prompt, as of ``StepCosts``."""
    media: tuple[MediaSpan, ...] = ()
    """Media of the prompt; empty if the prefix cache cannot be used."""
    hashes: BlockHashes | None = None
    """None: the sequence neither uses nor fills the prefix cache."""
    num_computed_tokens: int = 0
    """Tokens, prompt included, whose keys and values are in the cache."""
    slot: int | None = None
    """Row of the device's per-sequence tables, while the sequence runs."""
    slot_generation: int = 0
    """Incremented each time the sequence loses its slot: what the device stored for it before is gone."""
    blocks: list[int] = field(default_factory=list)
    """KV cache blocks, in the order of the tokens."""
    num_cached_tokens: int = 0
    """Tokens whose keys and values were in the prefix cache when the sequence got its slot."""
    num_registered_blocks: int = 0
    """Blocks that other sequences can find in the prefix cache."""
    pending: deque[PendingToken] = field(default_factory=deque)
    """Oldest first; at most two."""
    num_prefills: int = 0
    device_ms: float = 0.0
    """Share of the time of all steps."""
    submitted_at: float = field(default_factory=time.monotonic)
    first_pass_at: float | None = None
    first_token_at: float | None = None

    def __post_init__(self) -> None:
        self.encoder_cost_left = self.encoder_cost
        """Cost of the media that are not encoded yet; the prompt is computed when it is 0."""
        self._stops = StopMatcher(self.request.stop) if self.request.stop else None
        self._detokenizers = {phase: Detokenizer(self.tokenizer_info) for phase in Phase}

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def group(self) -> str:
        return self.request.group

    @property
    def num_tokens(self) -> int:
        """Prompt and output tokens."""
        return self.num_prompt_tokens + len(self.tokens)

    @property
    def num_uncomputed(self) -> int:
        """Known tokens that are not in the cache yet."""
        return self.num_tokens - self.num_computed_tokens

    @property
    def num_cached_media(self) -> int:
        """Media at the beginning of the prompt whose image tokens were all in the prefix cache."""
        return next((at for at, one in enumerate(self.media) if one.end > self.num_cached_tokens), len(self.media))

    def block_hashes(self, num_tokens: int) -> list[bytes]:
        """Return the hashes of the full blocks of the first tokens, for the prefix cache."""
        return self.hashes.first(num_tokens // BLOCK_SIZE, self.tokens) if self.hashes is not None else []

    def enter_slot(self, slot: int, blocks: list[int], num_cached_blocks: int) -> None:
        """Begin to be computed, after the tokens of the first blocks, which were in the prefix cache."""
        self.slot, self.blocks = slot, blocks
        self.num_registered_blocks = num_cached_blocks
        self.num_cached_tokens = self.num_computed_tokens = num_cached_blocks * BLOCK_SIZE
        if num_cached_media := self.num_cached_media:
            self.encoder_cost_left = sum(one.cost for one in self.media[num_cached_media:])

    def output_ids(self, start: int, end: int) -> list[int]:
        """Return the ids at positions ``start`` to ``end``, which must be after the prompt."""
        return [token.id for token in self.tokens[start - self.num_prompt_tokens : end - self.num_prompt_tokens]]

    def start(self) -> None:
        """Load the journal and add the forced tokens that come before the first sampled one.

        Raises:
            SequenceError: the journal does not match the request's settings.
        """
        journal = self.request.journal
        forced = self.controller.replay(journal, self._detokenize)
        self.tokens.extend(journal)
        self._end_at_stop_string()
        if forced:
            self._emit(forced, Phase.THINKING, "")

    def append_sampled(self, token: int) -> None:
        """Add a sampled token and the forced tokens that follow from it, and emit a ``Delta``."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        phase, was_open = self.controller.phase, self.controller.is_answer_open
        added = self.controller.accept(token)
        text = self._detokenize(token, phase, was_open) if Token(token, forced=False) in added else ""
        if self._stops is not None and phase is Phase.ANSWER:
            self._end_at_stop_string()
            if self.controller.finish_reason is not None:
                text += self._stops.flush()
        self._emit(added, phase, text)

    def reset_device_state(self) -> None:
        """Forget the cached tokens and void the pending ones. The tokens stay."""
        for pending in self.pending:
            pending.is_void = True
        self.pending.clear()
        self.num_computed_tokens = self.num_cached_tokens = self.num_registered_blocks = 0
        self.encoder_cost_left = self.encoder_cost
        self.slot_generation += 1

    def finished(self, reason: FinishReason) -> Finished:
        """Build the ``Finished`` event."""
        now = time.monotonic()
        first_pass_at, first_token_at = self.first_pass_at or now, self.first_token_at or now
        answer = self._detokenizers[Phase.ANSWER].text
        if self._stops is not None:
            if reason != "aborted":
                self._stops.flush()  # after a replay; the stream has it already
            answer = self._stops.text
        return Finished(
            finish_reason=reason,
            thinking=self._detokenizers[Phase.THINKING].text.strip(),
            answer=answer.strip(),
            stop_string=self._stops.matched if self._stops is not None else None,
            raw=self.tokenizer_info.decode([token.id for token in self.tokens]),
            truncation_reason=self.controller.truncation_reason,
            input_tokens=self.num_prompt_tokens,
            thinking_tokens=self.controller.thinking_tokens,
            answer_tokens=self.controller.answer_tokens,
            num_prefills=self.num_prefills,
            queued_ms=(first_pass_at - self.submitted_at) * 1000,
            prefill_ms=(first_token_at - first_pass_at) * 1000,
            decode_ms=(now - first_token_at) * 1000,
            device_ms=self.device_ms,
        )

    def _emit(self, tokens: list[Token], phase: Phase, text: str) -> None:
        self.tokens.extend(tokens)
        self.on_event(Delta(tuple(tokens), phase, text, self.controller.thinking_tokens))

    def _detokenize(self, token: int, phase: Phase, was_open: bool) -> str:
        """Return the text that a sampled token adds. Special tokens and white space before the answer add none."""
        is_kept = self.request.keep_box_tokens and self.tokenizer_info.is_box_token(token)
        if self.tokenizer_info.is_special(token) and not is_kept:
            return ""
        if phase is Phase.ANSWER and not was_open and self.tokenizer_info.is_blank(token):
            return ""
        text = self._detokenizers[phase].append(token)
        return self._stops.append(text) if self._stops is not None and phase is Phase.ANSWER else text

    def _end_at_stop_string(self) -> None:
        if self._stops is not None and self._stops.matched is not None:
            self.controller.finish_reason = "stop"
