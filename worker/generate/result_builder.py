"""What a generation comes to: the job's result, with its boxes and pictures."""

import io
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine import Finished
from families import SpecialTokens, answer_in
from jobs.model.job import Job, JobStatus
from jobs.model.prepared import PreparedInputs
from jobs.model.result import JobResult, StoredMedia
from jobs.objects.keys import job_folder
from jobs.objects.store import ObjectStore
from worker.generate.annotate import annotated
from worker.generate.boxes import Box, boxes_in


@dataclass(frozen=True)
class Interruption:
    """A generation that was ended from outside; what it has is kept."""

    status: JobStatus
    code: str
    message: str


class ResultBuilder:
    def __init__(self, object_store: ObjectStore, special_tokens: SpecialTokens) -> None:
        self._object_store = object_store
        self._marks = special_tokens

    def result(self, job: Job, prepared: PreparedInputs, end: Finished, stopped: Interruption | None) -> JobResult:
        """Raises ObjectStoreUnavailable: its pictures cannot be stored now."""
        boxes = boxes_in(answer_in(end.raw, self._marks), self._marks, prepared.images)
        return JobResult(
            id=job.id,
            status=stopped.status if stopped else JobStatus.COMPLETED,
            attempt=job.attempt,
            claim=job.claim,
            error={"code": stopped.code, "message": stopped.message} if stopped else None,
            output={
                "thinking": end.thinking,
                "answer": end.answer,
                "boxes": [box.to_json() for box in boxes],
                "raw": end.raw,
            },
            finish_reason=end.finish_reason,
            thinking_truncated=end.thinking_truncated,
            truncation_reason=end.truncation_reason,
            usage={
                "input_tokens": end.input_tokens,
                "thinking_tokens": end.thinking_tokens,
                "answer_tokens": end.answer_tokens,
                "gpu_seconds": round(end.device_ms / 1000, 3),
            },
            timings={
                "prepared_ms": max(0, job.prepared_ms - job.created_ms),
                "queued_ms": max(0, job.started_ms - job.prepared_ms),
                "prefill_ms": round(end.prefill_ms),
                "decode_ms": round(end.decode_ms),
            },
            media=(*_shown(prepared), *self._annotated(job, prepared, boxes)),
        )

    def _annotated(self, job: Job, prepared: PreparedInputs, boxes: list[Box]) -> list[StoredMedia]:
        """A copy of each picture that has boxes, with them drawn in."""
        by_image: defaultdict[int, list[tuple[Any, str | None]]] = defaultdict(list)
        for box in boxes:
            if box.image is not None:
                by_image[box.image].append((box.normalized, box.label))
        media = []
        for image, drawn in sorted(by_image.items()):
            picture = Image.open(io.BytesIO(self._object_store.get(prepared.images[image].key)))
            name = f"{image}-boxes.png"
            key = f"{job_folder(job.id)}/a{job.attempt}-{job.claim}/{name}"
            self._object_store.put(key, annotated(picture, drawn), "image/png")
            media.append(StoredMedia("annotated", name, key))
        return media


def _shown(prepared: PreparedInputs) -> tuple[StoredMedia, ...]:
    """What the model was shown, for people."""
    pictures = (
        StoredMedia("input" if image.page is None else "page", _picture_name(number, image.page), image.key)
        for number, image in enumerate(prepared.images)
    )
    sheets = (
        StoredMedia("contact_sheet", f"video-{number}.png", video.sheet_key)
        for number, video in enumerate(prepared.videos)
    )
    return (*pictures, *sheets)


def _picture_name(number: int, page: int | None) -> str:
    return f"{number}.png" if page is None else f"{number}-page-{page}.png"
