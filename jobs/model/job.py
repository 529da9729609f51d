"""A job's record: its states, the moves between them, and the fields of its hash in Redis."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

RECORD_VERSION = 2
"""Rises when a record's meaning changes; a worker never claims a record newer than it knows."""

MAX_LOST_LEASES = 4
"""A job whose lease ran out this often ends as ``failed``, code ``worker_lost``."""


class JobStatus(StrEnum):
    PREPARING = "preparing"
    """Accepted; its media is fetched, checked and converted, or waits for that."""
    QUEUED = "queued"
    """Waits for a GPU worker."""
    RUNNING = "running"
    """A GPU worker has it."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """No worker started it before its deadline."""

    @property
    def is_terminal(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PREPARING: frozenset({JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    # Back to queued when its worker hands it back or is lost.
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""What jobs/table/lua/*.lua allows; a test drives every script against this table."""

TERMINAL = frozenset(status for status in JobStatus if status.is_terminal)


class Stage(StrEnum):
    """The kinds of work that a worker claims."""

    PREPARE = "prepare"
    GENERATE = "generate"


PRIORITIES = ("high", "default", "low")
"""They share the workers 8:4:1 (see lua/claim.lua)."""


def new_claim() -> str:
    """A claim id: random, because a counter could be issued twice by a store that lost its last second."""
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table. Times are Redis' clock, milliseconds since 1970; 0: not yet."""

    id: str
    tenant: str
    status: JobStatus
    stage: Stage
    priority: str
    attempt: int
    """How often its present stage was claimed."""
    claim: str
    """The present owner's fence; empty: nobody has it."""
    lost_leases: int
    """Leases that ran out."""
    cancel_requested: bool
    required_tokens: int
    """KV room that it asks for: prompt, thinking, answer. Known once it is prepared."""
    prepared_folder: str
    """Folder under ``jobs/<id>/`` with ``prepared.json``; empty before."""
    sealed: str
    """The terminal status that its end is being written with."""
    error_code: str
    """Short code; the text is in the result object."""
    tokens: int
    """Generated so far."""
    created_ms: int
    deadline_ms: int
    prepared_ms: int
    started_ms: int
    ended_ms: int
    progress: str
    """Of its inputs, while they are made ready: ``done/all``."""
    retention_ms: int
    """Behind its end; 0: as long as the service keeps jobs."""

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str]) -> "Job":
        def number(name: str) -> int:
            return int(float(fields.get(name) or 0))

        return cls(
            id=job_id,
            tenant=fields["tenant"],
            status=JobStatus(fields["status"]),
            stage=Stage(fields["stage"]),
            priority=fields["priority"],
            attempt=number("attempt"),
            claim=fields.get("claim", ""),
            lost_leases=number("lost_leases"),
            cancel_requested=fields.get("cancel_requested") == "1",
            required_tokens=number("required_tokens"),
            prepared_folder=fields.get("prepared_folder", ""),
            sealed=fields.get("sealed", ""),
            error_code=fields.get("error_code", ""),
            tokens=number("tokens"),
            created_ms=number("created_ms"),
            deadline_ms=number("deadline_ms"),
            prepared_ms=number("prepared_ms"),
            started_ms=number("started_ms"),
            ended_ms=number("ended_ms"),
            progress=fields.get("progress", ""),
            retention_ms=number("retention_ms"),
        )
