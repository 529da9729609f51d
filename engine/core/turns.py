"""Decides in which steps the group with the most work takes part while other groups run, too.

A step with more rows takes longer: on a CPU nearly in proportion, on a GPU hardly. So the times are measured. The
other groups' steps take on average at most ``MAX_SLOWDOWN`` times as long as without the heaviest group, which leaves
that group at least a fifth of the time. Where its rows cost little, it takes part in every step.
"""

from collections import deque
from dataclasses import dataclass

MAX_SLOWDOWN = 1.25
MEASURED_STEPS = 3
"""The shortest of the last so many steps without the heaviest group counts. A step that another process delayed takes
longer, and such a time would let the heaviest group take part in every step."""
MAX_DEBT_S = 1.0
"""The heaviest group is left out for about this long at most."""
MEASURE_INTERVAL_S = 0.5
"""How often a step without the heaviest group is measured at least."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the heaviest group does in a step of several groups."""

    group: str
    takes_part: bool


class Turns:
    """Times are in seconds. Starts over when another group becomes the heaviest one."""

    def __init__(self) -> None:
        self._begin("")

    def _begin(self, group: str) -> None:
        self._group = group
        self._measured_s: deque[float] = deque(maxlen=MEASURED_STEPS)
        """Times of the newest steps without the heaviest group."""
        self._debt_s = 0.0
        """How much longer the steps of the other groups took than they may."""
        self._since_measured_s = 0.0

    def next(self, group: str) -> Turn:
        """Decide whether the heaviest group takes part in the next step."""
        if group != self._group:
            self._begin(group)
        is_measured = len(self._measured_s) == MEASURED_STEPS and self._since_measured_s < MEASURE_INTERVAL_S
        return Turn(group, is_measured and self._debt_s <= 0)

    def record(self, turn: Turn, elapsed_s: float) -> None:
        """Record how long a step took."""
        if turn.group != self._group:
            return
        if not turn.takes_part:
            self._since_measured_s = 0.0
            self._measured_s.append(elapsed_s)
            self._debt_s -= (MAX_SLOWDOWN - 1) * elapsed_s
        elif self._measured_s:
            self._since_measured_s += elapsed_s
            self._debt_s += elapsed_s - MAX_SLOWDOWN * min(self._measured_s)
        self._debt_s = min(max(self._debt_s, 0.0), MAX_DEBT_S)
