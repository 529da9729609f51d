"""What a generation comes to: the job's result, with its boxes and pictures."""

import io
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from PIL import Image

from families import Marks, answer_in
from jobs.blobs import Blobs, job_folder
from jobs.prepared import PreparedInputs
from jobs.record import Job, JobStatus
from jobs.result import JobResult, StoredMedia
from worker.boxes import Box, boxes_in
from worker.engine import Ended
from worker.media.overlay import annotated


@dataclass(frozen=True)
class Stopped:
    """A generation that was ended from outside; what it has is kept."""

    status: JobStatus
    code: str
    message: str


class Outcome:
    def __init__(self, blobs: Blobs, marks: Marks) -> None:
        self._blobs = blobs
        self._marks = marks

    def result(self, job: Job, prepared: PreparedInputs, end: Ended, stopped: Stopped | None) -> JobResult:
        """Raises BlobsUnavailable: its pictures cannot be stored now."""
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
            picture = Image.open(io.BytesIO(self._blobs.get(prepared.images[image].key)))
            name = f"{image}-boxes.png"
            key = f"{job_folder(job.id)}/a{job.attempt}-{job.claim}/{name}"
            self._blobs.put(key, annotated(picture, drawn), "image/png")
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
