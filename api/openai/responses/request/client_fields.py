"""What a job's request remembers of the call that created the response.

It is stored with the job, so that every process builds the same response and the same events from it.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from jobs.model.documents.request import JobRequest

SURFACE = "responses"
"""``JobRequest.surface`` of a response."""


@dataclass(frozen=True)
class ClientFields:
    """The client's fields that a response repeats, and what was decided when it was created."""

    model: str
    """As the client calls it."""
    instructions: str | None = None
    previous_response_id: str | None = None
    background: bool = False
    store: bool = True
    max_output_tokens: int | None = None
    effort: str | None = None
    summary: str | None = None
    """As the client sent it."""
    has_summary: bool = True
    """The thinking is sent as a summary too."""
    function: str | None = None
    """Name of the function that the answer calls. Its parameters are the request's ``response_format``."""
    user: str | None = None
    ignored: list[str] = field(default_factory=list)
    """Names of fields that have no effect."""

    @classmethod
    def of(cls, request: JobRequest) -> "ClientFields":
        """Return the fields of a stored request. Fields that this version does not know are left out."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in request.client_fields.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
