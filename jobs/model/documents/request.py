"""A job's request, as stored in ``requests/<id>.json``: everything that is needed to rebuild the job."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.model.documents.document_format import known_fields, read_document

REQUEST_FORMAT = 2
"""Written only where it is needed: see ``ANSWER_FIELDS``."""
ANSWER_FIELDS = ("stop", "response_format")
"""Fields that a worker must not ignore. A request that has one is written with format 2, and one that has none with
format 1, so that it can be read by the version before."""


@dataclass(frozen=True, slots=True)
class Callback:
    """Where and for which events to send webhooks."""

    url: str
    events: tuple[str, ...]
    """Terminal statuses for which a webhook is sent."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job's request, validated and with its media stored."""

    id: str
    tenant: str
    priority: str
    created_ms: int
    expires_ms: int
    """From its creation to its deadline."""
    fingerprint: str
    """SHA-256 of the body; a repeated Idempotency-Key must come with the same body."""
    messages: list[dict[str, Any]]
    """Roles and content parts: ``{"type": "text", "text"}``, or ``image``, ``video``, ``document`` with a ``url`` or a
    ``key``. Images may have ``max_pixels``, documents ``pages``.

    With a ``key`` come ``bytes``, the size of the object, and for an upload its id, ``upload``. A part with a
    ``source`` (``key``, ``etag``) has no object yet: the prepare worker copies the source, if it still has that ETag.
    """
    thinking_budget: int
    """Tokens; -1: no limit, 0: no thinking."""
    max_answer_tokens: int
    sampling: dict[str, float]
    """What the client set; the model's defaults apply to the rest."""
    seed: int
    """Always set, so that a job continues with the same tokens on another worker."""
    callback: Callback | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    max_run_s: int | None = None
    """Seconds since its first start on a generate worker, including waits in between."""
    retention_ms: int | None = None
    """How long the job is kept after it ends; None: as long as the service keeps jobs."""
    box_tokens: str = "strip"
    """``strip`` removes box tokens from the answer, ``keep`` leaves them."""
    result_urls: tuple[str, ...] = ()
    """Presigned URLs to which the result is also uploaded. They are secrets."""
    max_total_tokens: int | None = None
    """Of thinking and answer together. ``thinking_budget`` and ``max_answer_tokens`` are at most as many, so that a
    worker that does not know the total keeps it."""
    max_answer_of_total: int | None = None
    """With a total: the limit of an answer after a thinking that left a part of its budget. None: only the total."""
    stop: tuple[str, ...] = ()
    """Strings before which the answer ends."""
    response_format: dict[str, Any] | None = None
    """The JSON that the answer must be, see ``response_format.answer_grammar``. None: text."""
    retried_from: str | None = None
    """The job whose request this one repeats."""
    surface: str = ""
    """The API through which the request came; empty: the native one."""
    client_fields: dict[str, Any] = field(default_factory=dict)
    """What that API needs for its replies about the job. ``instructions``, if it is set, is the text with which the
    system message begins, and which a job that continues this one does not get."""
    key_object: str | None = None
    """Of a request with an Idempotency-Key: the object that names the key's job. The job is accepted only if the object
    names this one (lifecycle/acceptance.py)."""

    def messages_without_instructions(self) -> list[dict[str, Any]]:
        """Return the messages; a system message without the text of ``client_fields["instructions"]``."""
        instructions = self.client_fields.get("instructions")
        if not instructions or not self.messages or self.messages[0]["role"] != "system":
            return self.messages
        first, *rest = self.messages
        text: str = first["content"][0]["text"]
        left = text.removeprefix(instructions).removeprefix("\n\n") if text.startswith(instructions) else text
        return [{**first, "content": [{"type": "text", "text": left}]}, *rest] if left else rest

    def to_json(self) -> bytes:
        version = REQUEST_FORMAT if any(getattr(self, name) for name in ANSWER_FIELDS) else 1
        return json.dumps({"v": version, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "JobRequest":
        """Parse a request. Raises NewerDocument."""
        fields = known_fields(cls, read_document(data, known=REQUEST_FORMAT))
        callback = fields.pop("callback")
        if callback:
            callback = Callback(callback["url"], tuple(callback["events"]))
        urls, stop = tuple(fields.pop("result_urls", ())), tuple(fields.pop("stop", ()))
        return cls(callback=callback, result_urls=urls, stop=stop, **fields)
