"""One request on its way: its tokens, its stage, its texts, its counts."""

from dataclasses import dataclass, field
from typing import Any

from worker.engine.detokenizer import Detokenizer
from worker.engine.events import Delta, Ended, FinishReason, Stage, Token
from worker.engine.request import OnEvent, Request
from worker.engine.thinking import StagedGeneration
from worker.engine.vocabulary import Vocabulary


@dataclass
class Sequence:
    request: Request
    on_event: OnEvent
    vocabulary: Vocabulary
    control: StagedGeneration
    tokens: list[Token] = field(default_factory=list)
    """All that stands behind the prompt."""
    unread: list[int] = field(default_factory=list)
    """The last of them, which the model has not seen yet."""
    cache: Any = None
    """The runner's; None before the prefill."""
    prefills: int = 0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0

    def __post_init__(self) -> None:
        self._texts = {stage: Detokenizer(self.vocabulary) for stage in Stage}

    @property
    def is_finished(self) -> bool:
        return self.control.finish_reason is not None

    def start(self) -> None:
        """Take the journal, and what the stages put before the first sampled token."""
        journal = self.request.journal
        owed = self.control.replay(journal, self._read)
        self.tokens.extend(journal)
        self.unread = [token.id for token in journal]
        if owed:
            self._add(owed, Stage.THINKING, "")

    def take(self, sampled: int) -> None:
        """Take one sampled token and what follows from it, and tell."""
        stage, was_open = self.control.stage, self.control.is_answer_open
        added = self.control.accept(sampled)
        text = self._read(sampled, stage, was_open) if Token(sampled, forced=False) in added else ""
        self._add(added, stage, text)

    def ended(self, reason: FinishReason) -> Ended:
        for stage in Stage:
            self._texts[stage].flush()
        return Ended(
            finish_reason=reason,
            thinking=self._texts[Stage.THINKING].text.strip(),
            answer=self._texts[Stage.ANSWER].text.strip(),
            raw=self.vocabulary.decode([token.id for token in self.tokens]),
            truncation_reason=self.control.truncation_reason,
            input_tokens=len(self.request.inputs),
            thinking_tokens=self.control.thinking_tokens,
            answer_tokens=self.control.answer_tokens,
            prefills=self.prefills,
            prefill_ms=self.prefill_ms,
            decode_ms=self.decode_ms,
        )

    def _add(self, tokens: list[Token], stage: Stage, text: str) -> None:
        self.tokens.extend(tokens)
        self.unread.extend(token.id for token in tokens)
        self.on_event(Delta(tuple(tokens), stage, text, self.control.thinking_tokens))

    def _read(self, token: int, stage: Stage, was_open: bool) -> str:
        """The text that a sampled token adds to its stage: a mark adds none, nor does space before an answer."""
        is_kept = self.request.keeps_box_marks and self.vocabulary.is_box_mark(token)
        if self.vocabulary.is_special(token) and not is_kept:
            return ""
        if stage is Stage.ANSWER and not was_open and self.vocabulary.is_blank(token):
            return ""
        return self._texts[stage].push(token)
