"""Arguments and replies of the job table."""

from dataclasses import dataclass
from typing import Literal

from jobs.model.job import Job, JobStatus

ReleaseCause = Literal["stop", "loss", "error", "object"]
"""The worker stops; it stops, perhaps because of the job; a server answers with errors; the object store answers, but
fails for an object of the job."""
Precondition = Literal["owner", "unclaimed", "expired"]
"""Of an end: the caller has the job, no worker has it, or its worker's lease expired."""
LeaseSignal = Literal["ok", "cancel", "lost", "unknown"]
"""To a worker: continue; end the job as cancelled; drop it, another worker has it; the table does not know it."""
CancelReply = Literal["requested", "unclaimed", "ending", "ended", "unknown"]
"""See lua/intake/cancel.lua."""


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    job: Job
    last_seq: int
    """Sequence number of the newest event in its stream."""
    ran_ms: int
    """Since a generate worker first started it."""


@dataclass(frozen=True, slots=True)
class Release:
    """What became of a job that its worker released."""

    is_exhausted: bool
    """Its objects caused errors too often while other jobs passed its stage: it was not released, end it as failed."""
    others_pass: bool
    """Other jobs have passed the stage since the job was claimed."""


@dataclass(frozen=True, slots=True)
class AdmissionCheck:
    existing_job_id: str | None
    """The job that the same request body created before."""
    remaining: int
    """Jobs that still fit under the nearest limit."""


@dataclass(frozen=True, slots=True)
class AcceptResult:
    job: Job
    is_new: bool
    needs_wakeup: bool
    position: int | None
    """Number of jobs of its priority that are ahead of it; None: it does not wait."""


@dataclass(frozen=True, slots=True)
class SealResult:
    ended: JobStatus | None
    """The status with which the job had ended before; None: it is sealed now, write the result object next."""
    stopped_after_ms: int | None
    """Of a cancelled job: from the request to the seal."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Load of a generate worker's engine; zeros for other workers."""

    kv_free_tokens: int = 0
    """Tokens that still fit into its KV cache."""
    tokens_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker's heartbeat reports."""

    id: str
    stage: str
    """A stage, or ``keeper``."""
    state: str
    """``starting``, ``ready``, ``draining`` or ``gone``."""
    slots: int
    """Jobs that it runs at the same time."""
    free: int
    """Slots without a job."""
    engine_load: EngineLoad = EngineLoad()
