"""Output of a sequence: any number of ``Delta`` events, then one ``Finished`` or ``Failed``."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Phase(StrEnum):
    """Part of a generation."""

    THINKING = "thinking"
    ANSWER = "answer"


FinishReason = Literal["stop", "length", "repetition", "aborted"]
TruncationReason = Literal["budget", "eos", "repetition", "context"]


@dataclass(frozen=True, slots=True)
class Token:
    """One output token."""

    id: int
    forced: bool
    """Inserted by the engine, not sampled from the model."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Output of one step."""

    tokens: tuple[Token, ...]
    phase: Phase
    text: str
    """Without special tokens. Text that ends inside a character is held back."""
    thinking_tokens: int
    """Thinking tokens so far, this delta included."""


@dataclass(frozen=True, slots=True)
class Finished:
    """End of a generation.

    Texts and token counts cover the whole generation, including the journal of an earlier run. Times cover this run.
    """

    finish_reason: FinishReason
    thinking: str
    answer: str
    raw: str
    """All output tokens as text, including special and forced ones."""
    truncation_reason: TruncationReason | None
    """Why the engine closed the thinking. None: the model closed it."""
    input_tokens: int
    thinking_tokens: int
    answer_tokens: int
    num_prefills: int
    """How often the prompt was computed; more than once after a preemption."""
    queued_ms: float
    """From submission to the first pass."""
    prefill_ms: float
    """From the first pass to the first sampled token."""
    decode_ms: float
    """From the first sampled token to the end."""
    device_ms: float
    """Share of the time of all steps, by tokens computed."""
    stop_string: str | None = None
    """The stop string that ended the answer, which does not contain it."""

    @property
    def thinking_truncated(self) -> bool:
        """Whether the engine closed the thinking."""
        return self.truncation_reason is not None


@dataclass(frozen=True, slots=True)
class Failed:
    """The sequence failed; other sequences are not affected."""

    code: str
    message: str


Event = Delta | Finished | Failed
