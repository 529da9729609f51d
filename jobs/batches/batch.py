"""What is stored about a batch: the request, which never changes, and its latest state."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jobs.model.documents.document_format import known_fields

WINDOW_S = 24 * 3600
"""A batch that has not ended after this expires."""
ENDED = ("completed", "failed", "expired", "cancelled")
"""Statuses that do not change any more."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a client asked for."""

    id: str
    tenant: str
    created_ms: int
    endpoint: str
    input_file_id: str
    api_key: dict[str, Any]
    """Fields of the API key that created the batch, without its secret: its jobs have this key's permissions."""
    output_lifetime_s: int
    metadata: dict[str, str] | None = None

    @property
    def expires_ms(self) -> int:
        return self.created_ms + WINDOW_S * 1000

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Batch":
        return cls(**known_fields(cls, json.loads(data)))


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is. Each change is a new state with the next number."""

    number: int = 0
    status: str = "validating"
    total: int = 0
    """Requests of the input."""
    completed: int = 0
    failed: int = 0
    """Requests that have ended, with and without an answer; also those that are not settled."""
    line: int = 0
    """Lines of the input that are settled: their replies are in the parts."""
    offset: int = 0
    """Where the next line begins, in bytes."""
    settled_completed: int = 0
    settled_failed: int = 0
    parts: list[str] = field(default_factory=list)
    """Names of the objects that have the replies, in the order of the input."""
    usage: dict[str, int] = field(default_factory=dict)
    """Tokens of the settled requests."""
    model: str | None = None
    stop_code: str = ""
    """Why no more requests are run: ``batch_cancelled``, ``batch_expired`` or ``file_not_found``."""
    errors: list[dict[str, Any]] = field(default_factory=list)
    times_ms: dict[str, int] = field(default_factory=dict)
    """When each status was reached."""
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def changed(self, now_ms: int, **changes: Any) -> "BatchState":
        """Return the next state."""
        status = changes.get("status", self.status)
        times_ms = self.times_ms if status in self.times_ms else {**self.times_ms, status: now_ms}
        return replace(self, number=self.number + 1, times_ms=times_ms, **changes)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "BatchState":
        return cls(**known_fields(cls, json.loads(data)))
