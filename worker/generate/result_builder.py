"""Builds the result of a generation: texts, usage, timings, boxes, and images with the boxes drawn in."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from engine import Finished
from families import SpecialTokens, extract_answer
from jobs.model.documents.prepared import PreparedInputs
from jobs.model.documents.result import JobResult, StoredMedia
from jobs.model.job import Job, JobStatus
from jobs.objects.keys import job_folder
from jobs.objects.store import ObjectStore
from worker.generate.annotate import draw_boxes
from worker.generate.boxes import Box, find_boxes
from worker.generate.prepared_media import open_image


@dataclass(frozen=True)
class Interruption:
    """Why a generation was stopped from outside; its output until then is kept."""

    status: JobStatus
    code: str
    message: str


class ResultBuilder:
    """Builds results and uploads the annotated images."""

    def __init__(self, object_store: ObjectStore, special_tokens: SpecialTokens) -> None:
        self._object_store = object_store
        self._special_tokens = special_tokens

    def build_and_upload(
        self, job: Job, prepared: PreparedInputs, end: Finished, interruption: Interruption | None
    ) -> JobResult:
        """Build the result of a job, and upload a copy of each image that has boxes.

        Raises:
            ObjectStoreUnavailable: the images cannot be uploaded now.
        """
        boxes = find_boxes(extract_answer(end.raw, self._special_tokens), self._special_tokens, prepared.images)
        return JobResult(
            id=job.id,
            status=interruption.status if interruption else JobStatus.COMPLETED,
            attempt=job.attempt,
            claim=job.claim,
            error={"code": interruption.code, "message": interruption.message} if interruption else None,
            output={
                "thinking": end.thinking,
                "answer": end.answer,
                "boxes": [box.to_json() for box in boxes],
                "raw": end.raw,
            },
            finish_reason=end.finish_reason,
            stop_string=end.stop_string,
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
            media=(*_input_media(prepared), *self._upload_annotated(job, prepared, boxes)),
        )

    def _upload_annotated(self, job: Job, prepared: PreparedInputs, boxes: list[Box]) -> list[StoredMedia]:
        """Upload a copy of each image that has boxes, with the boxes drawn in."""
        by_image: defaultdict[int, list[tuple[Any, str | None]]] = defaultdict(list)
        for box in boxes:
            if box.image is not None:
                by_image[box.image].append((box.normalized, box.label))
        media = []
        for index, drawn in sorted(by_image.items()):
            source = prepared.images[index]
            image = open_image(self._object_store.get(source.key), source)
            name = f"{index}-boxes.png"
            key = f"{job_folder(job.id)}/a{job.attempt}-{job.claim}/{name}"
            self._object_store.put(key, draw_boxes(image, drawn), "image/png")
            media.append(StoredMedia("annotated", name, key))
        return media


def _input_media(prepared: PreparedInputs) -> tuple[StoredMedia, ...]:
    """Return the images, pages and contact sheets that show people what the model has read."""
    images = (
        StoredMedia("input" if image.page is None else "page", _image_name(number, image.page), image.key)
        for number, image in enumerate(prepared.images)
    )
    sheets = (
        StoredMedia("contact_sheet", f"video-{number}.png", video.sheet_key)
        for number, video in enumerate(prepared.videos)
    )
    return (*images, *sheets)


def _image_name(number: int, page: int | None) -> str:
    return f"{number}.png" if page is None else f"{number}-page-{page}.png"
