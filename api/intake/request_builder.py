"""From a body, or from an ended job, to the request that is stored: all that is needed to rebuild the job."""

import hashlib
import json
import secrets
import time
from dataclasses import replace
from typing import Any

from api.intake.conversation import Conversation
from api.intake.media import MediaIntake
from api.schemas.requests import AnyPart, FilePart, ImagePart, JobBody, Message, TextPart, VideoPart
from jobs.errors import NotFound
from jobs.model.job import Job
from jobs.model.request import Callback, JobRequest
from jobs.objects.client import ObjectNotFound
from jobs.objects.reader import DocumentReader
from runtime.settings import Settings


class RequestBuilder:
    """Its methods store the media that they come across, so they run behind the check of the limits."""

    def __init__(self, documents: DocumentReader, media: MediaIntake, settings: Settings) -> None:
        self._documents = documents
        self._media = media
        self._settings = settings

    def of_body(self, job_id: str, conversation: Conversation, *, tenant: str, fingerprint: str) -> JobRequest:
        """Raises Invalid: a medium cannot be taken."""
        body, family = conversation.body, self._settings.family
        sampling = body.sampling.model_dump(exclude_none=True)
        seed = sampling.pop("seed", None)
        own = [self._message(job_id, tenant, *numbered) for numbered in enumerate(body.messages)]
        # A system message stands first, also when it replaces that of the earlier job.
        head = [message for message in own if message["role"] == "system"]
        before = self._copied(conversation.before, job_id)
        return JobRequest(
            id=job_id,
            tenant=tenant,
            priority=body.priority,
            created_ms=time.time_ns() // 1_000_000,
            expires_ms=(body.expires_in or self._settings.job_expires_s) * 1000,
            fingerprint=fingerprint,
            messages=[*head, *before, *own[len(head) :]],
            thinking_budget=body.thinking.budget_tokens if body.thinking else family.thinking_budget,
            max_answer_tokens=body.max_answer_tokens or family.max_answer_tokens,
            sampling=sampling,
            seed=secrets.randbits(53) if seed is None else seed,
            callback=_callback(body),
            metadata=body.metadata,
            max_run_s=body.max_run_seconds,
            retention_ms=body.retention_seconds * 1000 if body.retention_seconds else None,
            box_tokens=body.box_tokens,
            result_urls=tuple(body.result_urls),
        )

    def of_job(self, job_id: str, job: Job) -> JobRequest:
        """An ended job's request under a new id. Raises NotFound: its objects are gone."""
        request = self._documents.request(job)
        return replace(
            request,
            id=job_id,
            created_ms=time.time_ns() // 1_000_000,
            fingerprint=fingerprint_of({"retried": job.id}),
            messages=self._copied(request.messages, job_id),
            retried_from=job.id,
        )

    def _copied(self, messages: list[dict[str, Any]], job_id: str) -> list[dict[str, Any]]:
        """Another job's messages with copies of their media, so that either job may be removed."""
        try:
            return [
                {**message, "content": [self._media.copied(part, job_id) for part in message["content"]]}
                for message in messages
            ]
        except ObjectNotFound:
            raise NotFound("The earlier job's media have outlived their retention; send them anew.") from None

    def _message(self, job_id: str, tenant: str, index: int, message: Message) -> dict[str, Any]:
        parts = [
            self._part(job_id, tenant, part, f"/messages/{index}/content/{number}")
            for number, part in enumerate(message.content)
        ]
        return {"role": message.role, "content": parts}

    def _part(self, job_id: str, tenant: str, part: AnyPart, where: str) -> dict[str, Any]:
        match part:
            case TextPart():
                return {"type": "text", "text": part.text}
            case ImagePart():
                source = self._media.source(job_id, tenant, "image", part.image_url.url, f"{where}/image_url/url")
                return {"type": "image", **source, **self._size(part)}
            case VideoPart():
                source = self._media.source(job_id, tenant, "video", part.video_url.url, f"{where}/video_url/url")
                return {"type": "video", **source, **_bounds(part)}
            case FilePart():
                source = self._media.source(job_id, tenant, "document", part.file.url, f"{where}/file")
                return {"type": "document", **source, **({"pages": part.file.pages} if part.file.pages else {})}

    def _size(self, part: ImagePart) -> dict[str, int]:
        asked = part.image_url
        if asked.max_pixels is None and asked.detail != "low":
            return {}
        return {"max_pixels": asked.max_pixels or self._settings.family.low_detail_pixels}


def fingerprint_of(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _bounds(part: VideoPart) -> dict[str, int]:
    return part.video_url.model_dump(include={"max_frames", "max_pixels"}, exclude_none=True)


def _callback(body: JobBody) -> Callback | None:
    if body.callback is None:
        return None
    return Callback(body.callback.url, tuple(name.removeprefix("job.") for name in body.callback.events))
