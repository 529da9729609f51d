"""How a job ended, as it lies in ``results/<id>.json``: written once, true for ever."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.record import Job, JobStatus


@dataclass(frozen=True, slots=True)
class StoredMedia:
    kind: str
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class JobResult:
    id: str
    status: JobStatus
    attempt: int
    claim: str
    """Of whoever wrote it."""
    error: dict[str, str] | None = None
    """``code`` and ``message``; null for a completed job."""
    output: dict[str, Any] | None = None
    """``thinking``, ``answer``, ``boxes`` and ``raw``."""
    finish_reason: str | None = None
    thinking_truncated: bool | None = None
    truncation_reason: str | None = None
    usage: dict[str, float] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    media: tuple[StoredMedia, ...] = ()

    @property
    def error_code(self) -> str:
        return self.error["code"] if self.error else ""

    @classmethod
    def without_output(cls, job: Job, status: JobStatus, code: str, message: str, *, claim: str) -> "JobResult":
        """The end of a job that made nothing."""
        return cls(job.id, status, job.attempt, claim, error={"code": code, "message": message})

    def to_json(self) -> bytes:
        return json.dumps({"v": 1, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "JobResult":
        fields = json.loads(data)
        del fields["v"]
        fields["status"] = JobStatus(fields["status"])
        fields["media"] = tuple(StoredMedia(**medium) for medium in fields["media"])
        return cls(**fields)
