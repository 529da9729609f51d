"""What the steps of preparing one job share."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.prepare.deadline import Deadline


@dataclass
class Preparation:
    """The state of one job while it is prepared. Used by the job's thread."""

    tenant: str
    deadline: Deadline
    check: Callable[[], None]
    """Called often while a step waits. Raises when the work must stop: JobReleased, ClaimLost or Cancelled."""
    decode_s: float = 0.0
    """How long the job has used decoders."""
