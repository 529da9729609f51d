"""Decides in which steps the group with the most work takes part while other groups run, too.

A step with more rows takes longer: on a CPU nearly in proportion, on a GPU hardly. So the times are measured. The
other groups' steps take on average at most ``MAX_SLOWDOWN`` times as long as without the heaviest group, which leaves
that group about half of the time. Where its rows cost little, it takes part in every step.
"""

from dataclasses import dataclass

MAX_SLOWDOWN = 2.0
SMOOTHING = 0.2
"""Weight of the newest step in the mean."""
MAX_DEBT_S = 1.0
"""The heaviest group is left out for about this long at most."""
MEASURE_INTERVAL_S = 2.0
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
        self._without_s: float | None = None
        """Mean time of a step without the heaviest group."""
        self._debt_s = 0.0
        """How much longer the steps of the other groups took than they may."""
        self._since_measured_s = 0.0

    def next(self, group: str) -> Turn:
        """Decide whether the heaviest group takes part in the next step."""
        if group != self._group:
            self._begin(group)
        is_measured = self._without_s is not None and self._since_measured_s < MEASURE_INTERVAL_S
        return Turn(group, is_measured and self._debt_s <= 0)

    def record(self, turn: Turn, elapsed_s: float) -> None:
        """Record how long a step took."""
        if turn.group != self._group:
            return
        if not turn.takes_part:
            self._since_measured_s = 0.0
            mean_s = elapsed_s if self._without_s is None else self._without_s
            self._without_s = mean_s + SMOOTHING * (elapsed_s - mean_s)
            self._debt_s -= (MAX_SLOWDOWN - 1) * elapsed_s
        elif self._without_s is not None:
            self._since_measured_s += elapsed_s
            self._debt_s += elapsed_s - MAX_SLOWDOWN * self._without_s
        self._debt_s = min(max(self._debt_s, 0.0), MAX_DEBT_S)
