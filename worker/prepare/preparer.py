"""Prepares one job: fetches its media, converts them, and stores ``prepared.json`` for the generate stage."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from families import Family, history_answer
from jobs.errors import JobFailed, NotFound
from jobs.model.documents.prepared import PreparedImage, PreparedInputs, PreparedVideo
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job
from jobs.objects.documents import load_request
from jobs.objects.keys import job_folder, prepared_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from runtime.settings import Settings
from worker.prepare.convert import ConvertedImage, ConvertedMedia, ConvertedVideo, MediaConverter, max_text_tokens
from worker.prepare.deadline import Deadline
from worker.prepare.decoding.decoder_pool import DecoderPool
from worker.prepare.fetch import MediaFetcher, has_media, list_media
from worker.prepare.preparation import Preparation
from worker.prepare.scratch.folder import scratch
from worker.prepare.scratch.space import ScratchSpace, default_scratch_bytes

OVERHEAD_S = 0.05
"""Charged to the tenant for each job in addition to its time in decoders: requests to the servers, about."""


class Preparer:
    """Prepares jobs. Safe to share between threads."""

    def __init__(
        self,
        store: JobStore,
        object_store: ObjectStore,
        settings: Settings,
        *,
        fetcher: MediaFetcher,
        pool: DecoderPool,
    ) -> None:
        self._store = store
        self._object_store = object_store
        self._settings = settings
        self._fetcher = fetcher
        self._pool = pool
        self._scratch_space = ScratchSpace(settings.scratch_bytes or default_scratch_bytes())
        self._deadlines: set[Deadline] = set()

    @property
    def overdue_s(self) -> float:
        """For how long a job has passed its time limit, in seconds: its thread probably hangs."""
        return max((deadline.overdue_s for deadline in tuple(self._deadlines)), default=0.0)

    def prepare(self, job: Job, check: Callable[[], None]) -> int:
        """Move a claimed job to the generate stage.

        Args:
            check: called often; what it raises ends the work.

        Returns:
            The tokens of KV cache that the job may need.

        Raises:
            JobFailed, ClaimLost, Cancelled, Unavailable, NotInitialized, SandboxFailed; also what ``check`` raises.
        """
        try:
            request = load_request(self._object_store, job.id)
        except NotFound:
            raise JobFailed("request_missing", "The job's request is gone from the object store.") from None
        deadline = Deadline(self._settings.prepare_timeout_s)
        self._deadlines.add(deadline)
        try:
            return self._prepare(job, request, Preparation(job.tenant, deadline, check))
        finally:
            self._deadlines.discard(deadline)

    def _prepare(self, job: Job, request: JobRequest, preparation: Preparation) -> int:
        folder = f"a{job.attempt}-{job.claim}"
        place = f"{job_folder(job.id)}/{folder}"
        started = time.monotonic()
        if has_media(request.messages):
            inputs = self._prepare_media(job, request, preparation, place)
        else:
            inputs = self._upload(place, request, ())
        inputs = replace(inputs, required_tokens=required_tokens(request, inputs, self._settings.family))
        self._object_store.put(prepared_key(job.id, folder), inputs.to_json(), "application/json")
        self._store.mark_prepared(
            job.id,
            job.claim,
            folder=folder,
            required_tokens=inputs.required_tokens,
            cost_s=preparation.decode_s + OVERHEAD_S,
            slot_s=self._slot_s(preparation.decode_s, time.monotonic() - started),
        )
        return inputs.required_tokens

    def _prepare_media(self, job: Job, request: JobRequest, preparation: Preparation, place: str) -> PreparedInputs:
        """Fetch, convert and upload a job's media; return the inputs. ``place``: prefix of the object keys."""
        with scratch() as files:
            media = list_media(request.messages, files)

            def report_progress(done: int) -> None:
                self._store.report_progress(job.id, job.claim, done=done, total=len(media))

            with self._scratch_space.reserve(preparation, self._fetcher.max_bytes(media)) as space:
                self._fetcher.fetch(media, preparation)
                space.shrink(sum(item.path.stat().st_size for item in media))
                converter = MediaConverter(request, self._settings, self._pool, preparation, report_progress)
                return self._upload(place, request, converter.convert(media))

    def _slot_s(self, decode_s: float, elapsed_s: float) -> float:
        """Return how long a job has taken one of the worker's slots.

        At least its share of the decoders, of which there are fewer: the autoscaler divides the slots by this time, and
        a worker whose jobs need decoders finishes no more than those can, however many jobs it holds.
        """
        return max(elapsed_s, decode_s * self._settings.prepare_slots / self._pool.plan.decoders)

    def _upload(self, folder: str, request: JobRequest, converted: Sequence[ConvertedMedia]) -> PreparedInputs:
        """Upload the converted media; return the description of what the engine reads."""
        images: list[PreparedImage] = []
        videos: list[PreparedVideo] = []
        for item in (item for items in converted for item in items):
            if isinstance(item, ConvertedImage):
                key = f"{folder}/{len(images)}.png"
                self._object_store.upload(key, item.file, "image/png")
                size = (item.width, item.height, item.source_width, item.source_height)
                images.append(PreparedImage(key, *size, page=item.page))
            else:
                videos.append(self._upload_video(f"{folder}/video-{len(videos)}", item))
        remaining = iter(converted)
        messages = [self._engine_message(message, remaining) for message in request.messages]
        return PreparedInputs(messages, tuple(images), tuple(videos))

    def _upload_video(self, key: str, video: ConvertedVideo) -> PreparedVideo:
        self._object_store.upload(f"{key}.zip", video.file, "application/zip")
        self._object_store.upload(f"{key}-sheet.png", video.sheet, "image/png")
        size = (video.width, video.height, video.seconds, video.source_width, video.source_height)
        return PreparedVideo(f"{key}.zip", *size, sheet_key=f"{key}-sheet.png")

    def _engine_message(self, message: dict[str, Any], converted: Iterator[ConvertedMedia]) -> dict[str, Any]:
        """Return the message with a placeholder for each image, page and video, as the engine reads it."""
        parts: list[dict[str, Any]] = []
        for part in message["content"]:
            if part["type"] == "text":
                parts.append(part)
            else:
                parts += [
                    {"type": "image" if isinstance(item, ConvertedImage) else "video"} for item in next(converted)
                ]
        if message["role"] == "assistant":
            text = "".join(part["text"] for part in parts)
            parts = [{"type": "text", "text": history_answer(text, self._settings.family.special_tokens)}]
        return {"role": message["role"], "content": parts}


def required_tokens(request: JobRequest, inputs: PreparedInputs, family: Family) -> int:
    """Return the KV cache tokens that the job may need: exact for media, an upper bound for text.

    The engine counts exactly, because it has the tokenizer. This number only must not be too small.
    """
    media = sum(family.images.token_count(image.width, image.height) for image in inputs.images)
    media += sum(family.videos.max_tokens(video.width, video.height, video.seconds) for video in inputs.videos)
    thinking = family.context_tokens if request.thinking_budget < 0 else request.thinking_budget
    text = max_text_tokens(inputs.messages) + thinking + request.max_answer_tokens
    return min(family.context_tokens, media + text)
