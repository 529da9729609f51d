"""How a job ended, as it lies in ``results/<id>.json``: written once, true for ever."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jobs.model.events import Event, forced_flags
from jobs.model.job import Job, JobStatus


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
    stopped_after_ms: int | None = None
    """Of a cancelled job: from the client's wish to where its engine had stopped; 0: nothing ran."""
    media: tuple[StoredMedia, ...] = ()

    @property
    def error_code(self) -> str:
        return self.error["code"] if self.error else ""

    @classmethod
    def without_output(cls, job: Job, status: JobStatus, code: str, message: str, *, claim: str) -> "JobResult":
        """The end of a job that made nothing."""
        return cls(job.id, status, job.attempt, claim, error={"code": code, "message": message})

    def with_journal(self, events: Iterable[Event]) -> "JobResult":
        """With what an earlier run made, out of the job's stream; nobody is left who could say more."""
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
        return json.dumps({"v": 1, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "JobResult":
        fields = json.loads(data)
        del fields["v"]
        fields["status"] = JobStatus(fields["status"])
        fields["media"] = tuple(StoredMedia(**medium) for medium in fields["media"])
        return cls(**fields)
