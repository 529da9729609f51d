"""What the scheduler has chosen for one step."""

from dataclasses import dataclass, field

from engine.core.sequence import PendingToken, Sequence
from engine.core.turns import Turn


@dataclass(frozen=True, slots=True)
class ScheduledTokens:
    """Tokens of one sequence that a pass computes: positions ``start`` to ``end``, prompt included."""

    sequence: Sequence
    start: int
    end: int
    pending: PendingToken | None
    """The token to sample after the last one. None: more of the sequence must be computed first."""
    is_lookahead: bool = False
    """The one token is still being sampled: its id is on the device only."""


@dataclass(slots=True)
class SchedulerOutput:
    """Work of one step."""

    prefills: list[ScheduledTokens] = field(default_factory=list)
    """One pass together, or one each, as is faster on the device."""
    decodes: list[ScheduledTokens] = field(default_factory=list)
    """One pass together, with one row per token."""
    encodes: list[Sequence] = field(default_factory=list)
    """Sequences with media that are not encoded yet. They come before the prefills, which may need them."""
    encoder_budget: float = 0.0
    """What may be spent on them in this step, as of ``StepCosts``."""
    turn: Turn | None = None
    """Of the group with the most work. None: only one group runs, or the step's time says nothing about a turn."""

    @property
    def all(self) -> list[ScheduledTokens]:
        return [*self.prefills, *self.decodes]

    @property
    def is_empty(self) -> bool:
        return not (self.prefills or self.decodes or self.encodes)
