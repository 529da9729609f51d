"""The turns of a job's conversation: those that its body has, behind those of the job that it goes on from."""

from dataclasses import dataclass
from typing import Any, NoReturn

from api.schemas import ImagePart, JobBody, TextPart
from families import Family
from jobs.blobs import Blobs
from jobs.errors import Invalid, NotFound, Problem
from jobs.record import JobStatus
from jobs.store import JobStore
from jobs.view import find_job, read_request, read_result

LONGEST_TOKEN = 128
"""In characters: vocabularies of this kind have one of 128 spaces. The engine counts exactly; this only keeps out what
cannot fit."""


@dataclass(frozen=True)
class Conversation:
    """Of a body that names no earlier job, ``before`` is empty."""

    before: list[dict[str, Any]]
    """Messages as they are stored: their media belong to another job."""
    body: JobBody

    def check(self, family: Family) -> None:
        """Raises Invalid: the model cannot take it."""
        parts = [part for message in self.before for part in message["content"]]
        own = [part for message in self.body.messages for part in message.content]
        images = sum(part["type"] == "image" for part in parts) + sum(isinstance(part, ImagePart) for part in own)
        if images > family.max_images:
            refuse("/messages", f"has {images} pictures; {family.name} takes {family.max_images} in a conversation")
        text = sum(len(part.get("text", "")) for part in parts)
        text += sum(len(part.text) for part in own if isinstance(part, TextPart))
        if text > family.context_tokens * LONGEST_TOKEN:
            refuse("/messages", f"has {text} characters, far more than the model's {family.context_tokens} tokens")


class Conversations:
    def __init__(self, store: JobStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    def of(self, body: JobBody, *, tenant: str) -> Conversation:
        """Raises Invalid: the earlier job cannot be gone on from."""
        if body.previous_job_id is None:
            return Conversation([], body)
        before = self._turns(body.previous_job_id, tenant)
        if body.messages[0].role == "system":
            before = [message for message in before if message["role"] != "system"]
        return Conversation(before, body)

    def _turns(self, job_id: str, tenant: str) -> list[dict[str, Any]]:
        """An ended job's turns and its answer."""
        where = "/previous_job_id"
        try:
            job = find_job(self._store, job_id, tenant=tenant)
            request, result = read_request(self._blobs, job_id), read_result(self._blobs, job)
        except NotFound:
            refuse(where, "names no job of yours (any more)")
        if result is None:
            refuse(where, "names a job that has not ended; wait for its answer")
        if job.status != JobStatus.COMPLETED or not result.output:
            refuse(where, f"names a job that ended as {job.status}; it has no answer to go on from")
        answer = {"role": "assistant", "content": [{"type": "text", "text": result.output["answer"]}]}
        return [*request.messages, answer]


def refuse(where: str, message: str) -> NoReturn:
    raise Invalid([Problem(where, message)])
