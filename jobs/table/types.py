"""What the job table answers to those who ask it (``jobs/table/store.py``), and who works on it."""

from dataclasses import dataclass
from typing import Literal

from jobs.model.job import Job, JobStatus

Precondition = Literal["owner", "unclaimed", "expired"]
LeaseSignal = Literal["ok", "cancel", "lost", "unknown"]
CancelReply = Literal["requested", "unclaimed", "ending", "ended", "unknown"]


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    job: Job
    last_seq: int
    """Of the newest event in its stream."""
    ran_ms: int
    """Since a GPU worker first had it."""


@dataclass(frozen=True, slots=True)
class AdmissionCheck:
    existing_job_id: str | None
    """The job that the repeated body has made."""
    remaining: int
    """Jobs up to the nearest limit."""


@dataclass(frozen=True, slots=True)
class AcceptResult:
    job: Job
    is_new: bool
    needs_wakeup: bool
    position: int | None
    """How many jobs of its priority are served before it; None: it does not wait."""


@dataclass(frozen=True, slots=True)
class SealResult:
    ended: JobStatus | None
    """The job had ended already, with that; None: it is sealed, go on to the result object."""
    stopped_after_ms: int | None
    """Of a cancelled job: from the wish to the seal."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How a generate worker is doing; zeros for the others."""

    kv_free_tokens: int = 0
    """Tokens that still fit into its KV cache."""
    tokens_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    id: str
    stage: str
    state: str
    slots: int
    free: int
    engine_load: EngineLoad = EngineLoad()
