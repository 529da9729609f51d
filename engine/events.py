"""What a sequence tells its submitter: any number of Deltas, then Ended or Failed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Stage(StrEnum):
    THINKING = "thinking"
    ANSWER = "answer"


FinishReason = Literal["stop", "length", "repetition", "aborted"]
TruncationReason = Literal["budget", "eos", "repetition", "context"]


@dataclass(frozen=True, slots=True)
class Token:
    id: int
    forced: bool
    """Fed by the engine, not sampled from the model."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added."""

    tokens: tuple[Token, ...]
    stage: Stage
    text: str
    """Without special_tokens; held back while it ends inside a character."""
    thinking_tokens: int
    """Used of the budget by now."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Texts and counts are of the whole generation, an earlier run's part included; times are of this run."""

    finish_reason: FinishReason
    thinking: str
    answer: str
    raw: str
    """All tokens behind the prompt as text, special_tokens and forced ones included."""
    truncation_reason: TruncationReason | None
    """Why the thinking was closed for the model; None: it closed it itself."""
    input_tokens: int
    thinking_tokens: int
    answer_tokens: int
    prefills: int
    """Times that its prompt was read: more than one when it had to give way to others."""
    waited_ms: float
    """Until the device began with it."""
    prefill_ms: float
    """From then until its first token."""
    decode_ms: float
    """From then until its end."""
    device_ms: float
    """Its share of the time that the device worked, by tokens read."""

    @property
    def thinking_truncated(self) -> bool:
        return self.truncation_reason is not None


@dataclass(frozen=True, slots=True)
class Failed:
    """The sequence cannot go on; the others can."""

    code: str
    message: str


Event = Delta | Ended | Failed
