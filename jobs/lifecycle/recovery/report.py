"""What a recovery did, in numbers."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["waiting", "ended", "cancelled", "finalized", "past_retention"]
"""What was done for one job: a field of ``RecoveryReport``."""


@dataclass
class RecoveryReport:
    """What a recovery did."""

    requests: int = 0
    """Checked."""
    waiting: int = 0
    """Records created for jobs that wait again."""
    ended: int = 0
    """Records created for jobs that have ended."""
    cancelled: int = 0
    """Lost cancels that were repeated."""
    finalized: int = 0
    """Jobs with a record that were ended as their result says."""
    past_retention: int = 0
    """Ended jobs whose retention is over: they get no record."""

    def count(self, outcome: Outcome | None) -> None:
        """Count what was done for one job."""
        if outcome:
            setattr(self, outcome, getattr(self, outcome) + 1)

    def __str__(self) -> str:
        return (
            f"{self.requests} requests checked: {self.waiting} jobs wait again, {self.ended} had ended, "
            f"{self.cancelled} were cancelled, {self.finalized} now end as their result says, "
            f"{self.past_retention} are past their retention"
        )
