"""What a client asked for, as it lies in ``requests/<id>.json``: all that is needed to rebuild the job."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Callback:
    url: str
    events: tuple[str, ...]
    """Terminal statuses to be told about."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    id: str
    tenant: str
    priority: str
    created_ms: int
    expires_ms: int
    """Milliseconds after its creation."""
    fingerprint: str
    """SHA-256 of the body, so that a repeated Idempotency-Key can be held against it."""
    messages: list[dict[str, Any]]
    """Role and content parts: ``{"type": "text", "text"}``, or ``image``, ``video``, ``document`` with a ``url`` or a
    ``key``; images may have ``max_pixels``, documents ``pages``."""
    thinking_budget: int
    """Tokens; -1: no budget, 0: answer at once."""
    max_answer_tokens: int
    sampling: dict[str, float]
    """Only what the client set; the model's own defaults fill the rest."""
    seed: int
    """Always set, so that a job that changes its worker goes on as it would have."""
    callback: Callback | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    max_run_s: int | None = None
    """Seconds on a GPU worker, waiting in between included."""
    retention_ms: int | None = None
    """How long it is kept behind its end; None: as long as the service keeps jobs."""
    box_tokens: str = "strip"
    """``keep``: leave them in the answer."""
    result_urls: tuple[str, ...] = ()
    """Where the result is PUT, too: presigned links, which are secrets."""
    retried_from: str | None = None
    """The job whose request it repeats."""

    def to_json(self) -> bytes:
        return json.dumps({"v": 1, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "JobRequest":
        fields = json.loads(data)
        del fields["v"]
        callback = fields.pop("callback")
        if callback:
            callback = Callback(callback["url"], tuple(callback["events"]))
        urls = tuple(fields.pop("result_urls", ()))
        return cls(callback=callback, result_urls=urls, **fields)
