"""Joins the messages of a request with those of the job that it continues, and checks them against the model."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NoReturn

from api.schemas.jobs import JobBody
from api.schemas.messages import TextPart
from families import Family, SpecialTokens, extract_answer
from jobs.errors import Invalid, NotFound, Problem
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.request import JobRequest
from jobs.model.job import JobStatus
from jobs.objects.reader import DocumentReader
from jobs.table.store import JobStore

STORED_TYPES = {"text": "text", "image_url": "image", "video_url": "video", "file": "document"}
"""The type of each part of a request body, as it is stored."""
PLURALS = {"image": "images", "video": "videos", "document": "documents"}
MAX_DOCUMENTS = 10
"""Per conversation. The limit on their pages applies when the prepare worker knows the number of pages."""
MAX_TOKEN_CHARACTERS = 128
"""The longest token of the supported vocabularies is one of 128 spaces. The engine counts tokens exactly; this bound
only refuses text that cannot fit."""
REPLACEMENT_CHARACTER = "\ufffd"
"""How an incomplete UTF-8 character is decoded."""


@dataclass(frozen=True)
class Conversation:
    """The messages of a request and those of the jobs before it."""

    earlier_messages: list[dict[str, Any]]
    """In stored form; their media belong to another job. Empty without ``previous_job_id``."""
    body: JobBody

    def check(self, family: Family) -> None:
        """Raise Invalid when the model cannot process the conversation."""
        self._check_media(family)
        characters = sum(len(part.get("text", "")) for part in self._earlier_parts())
        own_parts = [part for message in self.body.messages for part in message.content]
        characters += sum(len(part.text) for part in own_parts if isinstance(part, TextPart))
        if characters > family.context_tokens * MAX_TOKEN_CHARACTERS:
            raise_invalid(
                "/messages",
                f"has {characters} characters, far more than fit into the model's {family.context_tokens} tokens",
            )

    def _check_media(self, family: Family) -> None:
        counts = Counter(part["type"] for part in self._earlier_parts())
        counts.update(STORED_TYPES[part.type] for message in self.body.messages for part in message.content)
        limits = {"image": family.max_images, "video": family.max_videos, "document": MAX_DOCUMENTS}
        for kind, limit in limits.items():
            if counts[kind] > limit:
                raise_invalid(
                    "/messages",
                    f"has {counts[kind]} {PLURALS[kind]}; the limit of {family.name} is {limit} per conversation",
                )
        if counts["video"] and (counts["image"] or counts["document"]) and not family.supports_images_with_video:
            raise_invalid(
                "/messages",
                f"has a video and images or documents; {family.name} was not trained on both in one conversation: "
                "submit two jobs",
            )

    def _earlier_parts(self) -> list[dict[str, Any]]:
        return [part for message in self.earlier_messages for part in message["content"]]


class ConversationLoader:
    """Reads the messages of the job that a request continues."""

    def __init__(
        self,
        store: JobStore,
        documents: DocumentReader,
        ended_jobs: EndedJobReader,
        special_tokens: SpecialTokens,
    ) -> None:
        self._store = store
        self._ended_jobs = ended_jobs
        self._documents = documents
        self._special_tokens = special_tokens

    def load(self, body: JobBody, *, tenant: str) -> Conversation:
        """Return the conversation of a request. Raises Invalid when the earlier job cannot be continued."""
        if body.previous_job_id is None:
            return Conversation([], body)
        return Conversation(self._read_messages(body.previous_job_id, tenant, body), body)

    def _read_messages(self, job_id: str, tenant: str, body: JobBody) -> list[dict[str, Any]]:
        """Return the messages of a completed job, followed by its answer."""
        pointer = "/previous_job_id"
        try:
            job = find_job(self._store, job_id, tenant=tenant, ended_jobs=self._ended_jobs)
            request, result = self._documents.request(job), self._documents.result(job)
        except NotFound:
            raise_invalid(pointer, "names a job that does not exist or has expired")
        if result is None:
            raise_invalid(pointer, "names a job that has not ended; wait for its answer")
        if job.status != JobStatus.COMPLETED or not result.output:
            raise_invalid(pointer, f"names a job that ended as {job.status}; it has no answer to continue from")
        text = extract_answer(result.output.get("raw") or result.output["answer"], self._special_tokens)
        # An answer cut off inside a character ends with an incomplete one, which the result's answer leaves out too.
        text = text.rstrip(REPLACEMENT_CHARACTER)
        return [*_continued_messages(request, body), {"role": "assistant", "content": [{"type": "text", "text": text}]}]


def _continued_messages(request: JobRequest, body: JobBody) -> list[dict[str, Any]]:
    """Return the messages of an earlier job that its continuation has too.

    A system message replaces the earlier one. Where instructions are apart from the messages, only they are replaced or
    left out.
    """
    if "instructions" in request.client_fields:
        return request.messages_without_instructions()
    if body.messages[0].role == "system":
        return [message for message in request.messages if message["role"] != "system"]
    return request.messages


def raise_invalid(pointer: str, message: str) -> NoReturn:
    raise Invalid([Problem(pointer, message)])
