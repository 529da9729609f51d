"""A job's record: its statuses, the transitions between them, and the fields of its hash in Redis."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

RECORD_VERSION = 2
"""Increases when the meaning of a record changes. A worker does not claim a record that is newer than it knows."""

MAX_LOST_LEASES = 4
"""A job that has lost this many leases ends as ``failed`` with code ``worker_lost``."""


class JobStatus(StrEnum):
    PREPARING = "preparing"
    """Accepted; its media are being fetched, checked and converted, or wait for that."""
    QUEUED = "queued"
    """Waits for a generate worker."""
    RUNNING = "running"
    """A generate worker has claimed it."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """No generate worker started it before its deadline."""

    @property
    def is_terminal(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PREPARING: frozenset({JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    # Queued again when its worker releases it or is lost.
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""The transitions that the scripts in jobs/table/lua make."""

TERMINAL = frozenset(status for status in JobStatus if status.is_terminal)


class Stage(StrEnum):
    """The kinds of work for which a worker claims a job."""

    PREPARE = "prepare"
    GENERATE = "generate"


PRIORITIES = ("high", "default", "low")
"""From the highest; they share the workers 8:4:1 (lua/execution/claim.lua)."""


def new_claim() -> str:
    """Return a new claim id. It is random: after Redis lost its last second, a counter could issue an id twice."""
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Job:
    """One record of the job table. Times are in milliseconds since 1970 by Redis' clock; 0: not yet."""

    id: str
    tenant: str
    status: JobStatus
    stage: Stage
    priority: str
    attempt: int
    """Number of claims in the current stage."""
    claim: str
    """The fence: id of the current claim or seal; empty: no worker has the job."""
    lost_leases: int
    """Number of leases that expired."""
    cancel_requested: bool
    required_tokens: int
    """KV cache that it may need for prompt, thinking and answer; 0 until it is prepared."""
    prepared_folder: str
    """Folder under ``jobs/<id>/`` that contains ``prepared.json``; empty until it is prepared."""
    sealed: str
    """The terminal status with which it is ending; empty unless it is sealed."""
    error_code: str
    """The message is in the result object."""
    tokens: int
    """Number of tokens generated so far."""
    created_ms: int
    deadline_ms: int
    prepared_ms: int
    started_ms: int
    ended_ms: int
    progress: str
    """Of its media during the prepare stage: ``done/total``."""
    retention_ms: int
    """How long the job is kept after it ends; 0: as long as the service keeps jobs."""

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str]) -> "Job":
        """Read a record; fields that this version does not know are ignored.

        Raises:
            KeyError, ValueError: the record is damaged.
        """

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
