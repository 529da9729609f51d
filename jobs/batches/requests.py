"""What a batch needs of the API whose requests it runs."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from jobs.batches.batch import Batch
from jobs.model.job import Job


@dataclass(frozen=True)
class Submitted:
    """The job of a line."""

    job: Job
    options: dict[str, Any] = field(default_factory=dict)
    """What the reply depends on beside the job."""


@dataclass(frozen=True)
class Reply:
    """What a call with the same body would have returned."""

    status: int
    body: dict[str, Any]
    usage: dict[str, int] = field(default_factory=dict)
    """The job's tokens by kind."""


class Requests(Protocol):
    """Runs the lines of batches as jobs."""

    def parse(self, line: bytes) -> Any:
        """Return the JSON document of a line. Raises ValueError: it is none, or it is too complex."""

    def submit(self, batch: Batch, number: int, body: dict[str, Any]) -> Submitted | Reply:
        """Create the job of a line, or find the one that an earlier call created; a reply if the line is refused.

        Raises:
            Overloaded, Unavailable, NotInitialized: try again later.
        """

    def find(self, batch: Batch, number: int, body: dict[str, Any]) -> Submitted | None:
        """Return the job that an earlier call created for a line; None: there is none."""

    def reply(self, batch: Batch, submitted: Submitted) -> Reply:
        """Return the reply of a job that has ended, or was deleted."""
