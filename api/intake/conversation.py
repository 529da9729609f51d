"""The turns of a job's conversation: those that its body has, behind those of the job that it goes on from."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NoReturn

from api.schemas.requests import JobBody, TextPart
from families import Family, SpecialTokens, answer_in
from jobs.errors import Invalid, NotFound, Problem
from jobs.lifecycle.lookup import find_job
from jobs.model.job import JobStatus
from jobs.objects.reader import DocumentReader
from jobs.table.store import JobStore

KINDS = {"text": "text", "image_url": "image", "video_url": "video", "file": "document"}
"""Of a body's parts, as they are stored."""
WORDS = {"image": "pictures", "video": "videos", "document": "documents"}
MAX_DOCUMENTS = 10
"""In a conversation; their pages count together, once they are known."""
LONGEST_TOKEN = 128
"""In characters: vocabularies of this kind have one of 128 spaces. The engine counts exactly; this only keeps out what
cannot fit."""
HALF = "\ufffd"
"""What the beginning of a character is read as, whose end was not said."""


@dataclass(frozen=True)
class Conversation:
    """Of a body that names no earlier job, ``before`` is empty."""

    before: list[dict[str, Any]]
    """Messages as they are stored: their media belong to another job."""
    body: JobBody

    def check(self, family: Family) -> None:
        """Raises Invalid: the model cannot take it."""
        self._check_media(family)
        text = sum(len(part.get("text", "")) for message in self.before for part in message["content"])
        own = [part for message in self.body.messages for part in message.content]
        text += sum(len(part.text) for part in own if isinstance(part, TextPart))
        if text > family.context_tokens * LONGEST_TOKEN:
            refuse("/messages", f"has {text} characters, far more than the model's {family.context_tokens} tokens")

    def _check_media(self, family: Family) -> None:
        counts = Counter(part["type"] for message in self.before for part in message["content"])
        counts.update(KINDS[part.type] for message in self.body.messages for part in message.content)
        limits = {"image": family.max_images, "video": family.max_videos, "document": MAX_DOCUMENTS}
        for kind, limit in limits.items():
            if counts[kind] > limit:
                refuse("/messages", f"has {counts[kind]} {WORDS[kind]}; {family.name} takes {limit} in a conversation")
        if counts["video"] and (counts["image"] or counts["document"]) and not family.mixes_pictures_and_video:
            refuse(
                "/messages",
                f"has a video and pictures; {family.name} was not trained on both in one conversation: ask in two jobs",
            )


class Conversations:
    def __init__(self, store: JobStore, documents: DocumentReader, special_tokens: SpecialTokens) -> None:
        self._store = store
        self._documents = documents
        self._marks = special_tokens

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
            request, result = self._documents.request(job), self._documents.result(job)
        except NotFound:
            refuse(where, "names no job of yours (any more)")
        if result is None:
            refuse(where, "names a job that has not ended; wait for its answer")
        if job.status != JobStatus.COMPLETED or not result.output:
            refuse(where, f"names a job that ended as {job.status}; it has no answer to go on from")
        raw = answer_in(result.output.get("raw") or result.output["answer"], self._marks)
        # Without the half of a character at which an answer was cut off: the result's answer has none either.
        answer = {"role": "assistant", "content": [{"type": "text", "text": raw.rstrip(HALF)}]}
        return [*request.messages, answer]


def refuse(where: str, message: str) -> NoReturn:
    raise Invalid([Problem(where, message)])
