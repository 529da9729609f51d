"""Builds the stored request of a job, which contains all that is needed to rebuild the job."""

import hashlib
import json
import secrets
import time
from dataclasses import replace
from typing import Any

from api.intake.conversation import Conversation
from api.intake.limits import token_limits
from api.intake.media import MediaBatch, MediaIntake
from api.schemas.jobs import ResponseFormat, RetryBody
from api.schemas.messages import AnyPart, FilePart, ImagePart, Message, TextPart, VideoPart
from api.schemas.webhooks import CallbackBody
from jobs.errors import NotFound
from jobs.model.documents.request import Callback, JobRequest
from jobs.model.job import Job
from jobs.objects.client import ObjectNotFound
from jobs.objects.reader import DocumentReader
from runtime.settings import Settings


class RequestBuilder:
    """Builds requests and stores their media. Call it only after the limits were checked."""

    def __init__(self, documents: DocumentReader, media: MediaIntake, settings: Settings) -> None:
        self._documents = documents
        self._media = media
        self._settings = settings

    def build_and_store_media(
        self, job_id: str, conversation: Conversation, *, tenant: str, priority: str, fingerprint: str
    ) -> JobRequest:
        """Store a conversation's media under ``job_id`` and return its request.

        Raises:
            Invalid: a medium cannot be decoded, or an upload is missing or too large.
            NotFound: the media of the earlier job have expired.
        """
        body = conversation.body
        limits = token_limits(body, self._settings.family)
        sampling = body.sampling.model_dump(exclude_none=True)
        seed = sampling.pop("seed", None)
        batch = self._media.batch(job_id, tenant)
        own = [self._stored_message(batch, index, message) for index, message in enumerate(body.messages)]
        # A system message comes first, also when it replaces the one of the earlier job.
        system = own[:1] if own[0]["role"] == "system" else []
        earlier = self._earlier_messages(batch, conversation.earlier_messages)
        messages = batch.store([*system, *earlier, *own[len(system) :]])
        return JobRequest(
            id=job_id,
            tenant=tenant,
            priority=priority,
            created_ms=time.time_ns() // 1_000_000,
            expires_ms=(body.expires_in or self._settings.job_expires_s) * 1000,
            fingerprint=fingerprint,
            messages=messages,
            thinking_budget=limits.thinking_budget,
            max_answer_tokens=limits.max_answer_tokens,
            max_total_tokens=limits.max_total_tokens,
            max_answer_of_total=limits.max_answer_of_total,
            stop=tuple(body.stop),
            response_format=_response_format(body.response_format),
            sampling=sampling,
            seed=secrets.randbits(53) if seed is None else seed,
            callback=_callback(body.callback),
            metadata=body.metadata,
            max_run_s=body.max_run_seconds,
            retention_ms=body.retention_seconds * 1000 if body.retention_seconds else None,
            box_tokens=body.box_tokens,
            result_urls=tuple(body.result_urls),
        )

    def build_retry_and_copy_media(
        self, job_id: str, job: Job, changes: RetryBody, *, priority: str, fingerprint: str
    ) -> JobRequest:
        """Copy an ended job's media to ``job_id`` and return its request under the new id, with the changes.

        Raises:
            NotFound: the job's objects have expired.
        """
        request, batch = self._documents.request(job), self._media.batch(job_id, job.tenant)
        return replace(
            request,
            id=job_id,
            created_ms=time.time_ns() // 1_000_000,
            fingerprint=fingerprint,
            messages=batch.store(self._earlier_messages(batch, request.messages)),
            priority=priority,
            expires_ms=changes.expires_in * 1000 if changes.expires_in else request.expires_ms,
            callback=_callback(changes.callback) if changes.callback else request.callback,
            retried_from=job.id,
            key_object=None,  # the earlier job's Idempotency-Key stays its own
        )

    def _earlier_messages(self, batch: MediaBatch, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages of another job with copies of its media, so that either job can be deleted."""
        try:
            return [
                {**message, "content": [batch.add_part(part) for part in message["content"]]} for message in messages
            ]
        except ObjectNotFound:
            raise NotFound("The media of the earlier job have expired; submit them again.") from None

    def _stored_message(self, batch: MediaBatch, index: int, message: Message) -> dict[str, Any]:
        parts = [
            self._stored_part(batch, part, f"/messages/{index}/content/{number}")
            for number, part in enumerate(message.content)
        ]
        return {"role": message.role, "content": parts}

    def _stored_part(self, batch: MediaBatch, part: AnyPart, pointer: str) -> dict[str, Any]:
        match part:
            case TextPart():
                return {"type": "text", "text": part.text}
            case ImagePart():
                source = batch.add_source("image", part.image_url.url, f"{pointer}/image_url/url")
                return {"type": "image", **source, **self._image_bounds(part)}
            case VideoPart():
                source = batch.add_source("video", part.video_url.url, f"{pointer}/video_url/url")
                return {"type": "video", **source, **_video_bounds(part)}
            case FilePart():
                source = batch.add_source("document", part.file.url, f"{pointer}/file/{part.file.source_field}")
                return {"type": "document", **source, **({"pages": part.file.pages} if part.file.pages else {})}

    def _image_bounds(self, part: ImagePart) -> dict[str, int]:
        image = part.image_url
        if image.max_pixels is None and image.detail != "low":
            return {}
        return {"max_pixels": image.max_pixels or self._settings.family.low_detail_pixels}


def fingerprint_of(document: dict[str, Any]) -> str:
    """Return a hash that is equal for equal JSON documents."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _video_bounds(part: VideoPart) -> dict[str, int]:
    return part.video_url.model_dump(include={"max_frames", "max_pixels"}, exclude_none=True)


def _response_format(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    return None if wanted is None else wanted.model_dump(by_alias=True, exclude_none=True)


def _callback(callback: CallbackBody | None) -> Callback | None:
    if callback is None:
        return None
    return Callback(callback.url, tuple(name.removeprefix("job.") for name in callback.events))
