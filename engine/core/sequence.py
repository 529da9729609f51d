"""One request on its way: its tokens, its phase, its texts, its counts, and what it holds of the device."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.core.detokenizer import Detokenizer
from engine.core.thinking import StagedGeneration
from engine.core.tokenizer_info import TokenizerInfo
from engine.events import Delta, Event, Finished, FinishReason, Phase, Token
from engine.request import Request

OnEvent = Callable[[Event], None]
"""Called from the engine's thread: it must be quick and must not raise."""


@dataclass(eq=False, slots=True)
class PendingToken:
    """A token that the device was asked to choose and that nobody has read yet."""

    sequence: "Sequence"
    position: int
    """Of the token in its sequence, prompt included."""
    suppressed_ids: tuple[int, ...]
    """What it was kept from choosing."""
    is_void: bool = False
    """Its result counts for nothing: a token before it came out otherwise, or its sequence is gone."""


@dataclass(eq=False)
class Sequence:
    request: Request
    on_event: OnEvent
    tokenizer_info: TokenizerInfo
    control: StagedGeneration
    prompt_length: int
    tokens: list[Token] = field(default_factory=list)
    """All that stands behind the prompt."""
    computed: int = 0
    """Tokens, from the first of the prompt on, whose keys and values are in the cache."""
    stay: int = 0
    """Rises each time that it loses its slot: what the device kept of it then is gone."""
    slot: int | None = None
    """Its row in the device's tables, while it runs."""
    blocks: list[int] = field(default_factory=list)
    """Its part of the KV cache, in the order of its tokens."""
    draws: deque[PendingToken] = field(default_factory=deque)
    """Oldest first; at most two."""
    prefills: int = 0
    device_ms: float = 0.0
    """Its share of the time that the device worked."""
    submitted_at: float = field(default_factory=time.monotonic)
    read_at: float | None = None
    """When the device began with it."""
    drawn_at: float | None = None
    """When its first own token was there."""

    def __post_init__(self) -> None:
        self._texts = {phase: Detokenizer(self.tokenizer_info) for phase in Phase}

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def length(self) -> int:
        """Prompt and tokens."""
        return self.prompt_length + len(self.tokens)

    @property
    def unread(self) -> int:
        """Tokens that are known and not in the cache yet."""
        return self.length - self.computed

    @property
    def is_finished(self) -> bool:
        return self.control.finish_reason is not None

    def behind_prompt(self, start: int, end: int) -> list[int]:
        """The ids of the tokens at these places, which are all behind the prompt."""
        return [token.id for token in self.tokens[start - self.prompt_length : end - self.prompt_length]]

    def start(self) -> None:
        """Take the journal, and what the stages put before the first sampled token."""
        journal = self.request.journal
        owed = self.control.replay(journal, self._read)
        self.tokens.extend(journal)
        if owed:
            self._add(owed, Phase.THINKING, "")

    def take(self, sampled: int) -> None:
        """Take one sampled token and what follows from it, and tell."""
        if self.drawn_at is None:
            self.drawn_at = time.monotonic()
        phase, was_open = self.control.phase, self.control.is_answer_open
        added = self.control.accept(sampled)
        text = self._read(sampled, phase, was_open) if Token(sampled, forced=False) in added else ""
        self._add(added, phase, text)

    def leave(self) -> None:
        """Nothing of it is in the cache any more, and no draw counts; its tokens stay."""
        for draw in self.draws:
            draw.is_void = True
        self.draws.clear()
        self.computed = 0
        self.stay += 1

    def ended(self, reason: FinishReason) -> Finished:
        now = time.monotonic()
        began, drew = self.read_at or now, self.drawn_at or now
        return Finished(
            finish_reason=reason,
            thinking=self._texts[Phase.THINKING].text.strip(),
            answer=self._texts[Phase.ANSWER].text.strip(),
            raw=self.tokenizer_info.decode([token.id for token in self.tokens]),
            truncation_reason=self.control.truncation_reason,
            input_tokens=self.prompt_length,
            thinking_tokens=self.control.thinking_tokens,
            answer_tokens=self.control.answer_tokens,
            num_prefills=self.prefills,
            queued_ms=(began - self.submitted_at) * 1000,
            prefill_ms=(drew - began) * 1000,
            decode_ms=(now - drew) * 1000,
            device_ms=self.device_ms,
        )

    def _add(self, tokens: list[Token], phase: Phase, text: str) -> None:
        self.tokens.extend(tokens)
        self.on_event(Delta(tuple(tokens), phase, text, self.control.thinking_tokens))

    def _read(self, token: int, phase: Phase, was_open: bool) -> str:
        """The text that a sampled token adds to its phase: a mark adds none, nor does space before an answer."""
        is_kept = self.request.keep_box_tokens and self.tokenizer_info.is_box_mark(token)
        if self.tokenizer_info.is_special(token) and not is_kept:
            return ""
        if phase is Phase.ANSWER and not was_open and self.tokenizer_info.is_blank(token):
            return ""
        return self._texts[phase].push(token)
