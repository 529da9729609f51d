"""How a job ended, as stored in ``results/<id>.json``. The object is written once and never changes."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jobs.errors import JobWithdrawn
from jobs.model.documents.document_format import known_fields, read_document
from jobs.model.events import Event, forced_flags
from jobs.model.job import Job, JobStatus

RESULT_FORMAT = 1


def withdrawal_marker(job_id: str) -> bytes:
    """Return what is stored instead of a result for a job that was never accepted, so that no result can follow."""
    return json.dumps({"v": RESULT_FORMAT, "id": job_id, "withdrawn": True}).encode()


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """An image that shows what the model saw, or its boxes."""

    kind: str
    """See ``public_job.MediaItem``."""
    name: str
    key: str
    """In the object store."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended, with its output."""

    id: str
    status: JobStatus
    attempt: int
    claim: str
    """The claim id of the process that wrote the result."""
    error: dict[str, str] | None = None
    """``code`` and ``message``; null for a completed job."""
    output: dict[str, Any] | None = None
    """``thinking``, ``answer``, ``boxes`` and ``raw``."""
    finish_reason: str | None = None
    thinking_truncated: bool | None = None
    truncation_reason: str | None = None
    stop_string: str | None = None
    """The stop string that ended the answer."""
    usage: dict[str, float] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    stopped_after_ms: int | None = None
    """Of a cancelled job: from the cancel call until its engine stopped; 0: nothing was running."""
    media: tuple[StoredMedia, ...] = ()

    @property
    def error_code(self) -> str:
        return self.error["code"] if self.error else ""

    @classmethod
    def without_output(cls, job: Job, status: JobStatus, code: str, message: str, *, claim: str) -> "JobResult":
        """Return the result of a job that generated nothing."""
        return cls(job.id, status, job.attempt, claim, error={"code": code, "message": message})

    def with_journal(self, events: Iterable[Event]) -> "JobResult":
        """Add the output and usage of earlier runs, read from the job's event stream."""
        texts, used = {"thinking": "", "answer": ""}, {"thinking_tokens": 0, "answer_tokens": 0}
        for event in events:
            if event.type == "started" and event.data.get("restarted"):
                texts, used = {"thinking": "", "answer": ""}, {"thinking_tokens": 0, "answer_tokens": 0}
            elif event.type == "tokens":
                texts[event.data["phase"]] += event.data["text"]
                used["thinking_tokens"] = event.data.get("thinking", 0)
                if event.data["phase"] == "answer":
                    used["answer_tokens"] += forced_flags(event.data).count(False)
        if not any(used.values()):
            return self
        output = {name: text.strip() for name, text in texts.items()}
        return replace(self, output={**output, "boxes": [], "raw": ""}, finish_reason="aborted", usage=dict(used))

    def to_json(self) -> bytes:
        return json.dumps({"v": RESULT_FORMAT, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "JobResult":
        """Parse a result.

        Raises:
            JobWithdrawn: the object is a ``withdrawal_marker``.
            NewerDocument
        """
        fields = read_document(data, known=RESULT_FORMAT)
        if fields.get("withdrawn"):
            raise JobWithdrawn
        fields["status"] = JobStatus(fields["status"])
        fields["media"] = tuple(StoredMedia(**known_fields(StoredMedia, item)) for item in fields["media"])
        return cls(**known_fields(cls, fields))
