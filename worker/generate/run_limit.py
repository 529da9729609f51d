"""The time limit that a client sets on the run of a job."""

import time
from dataclasses import dataclass

from jobs.model.documents.request import JobRequest
from jobs.model.job import JobStatus
from worker.generate.result_builder import Interruption


@dataclass(frozen=True)
class RunLimit:
    """A job's ``max_run_seconds``, counted from its first start on any worker."""

    seconds: int
    ends_at: float
    """On the monotonic clock."""

    @classmethod
    def of(cls, request: JobRequest, ran_ms: int) -> "RunLimit":
        """
        Args:
            ran_ms: milliseconds since the first start.
        """
        if request.max_run_s is None:
            return cls(0, float("inf"))
        return cls(request.max_run_s, time.monotonic() + request.max_run_s - ran_ms / 1000)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    @property
    def interruption(self) -> Interruption:
        message = f"The job ran longer than its max_run_seconds, {self.seconds}; the output until then is kept."
        return Interruption(JobStatus.FAILED, "run_time_exceeded", message)
