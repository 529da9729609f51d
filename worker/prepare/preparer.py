"""The prepare stage: claim → fetch (sources.py) → convert (conversion.py) → prepared.json for the generate worker."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import structlog

from families import Family, answer_of
from jobs.errors import Cancelled, ClaimLost, JobFailed, NotFound, NotInitialized, Unavailable
from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.job import Job, JobStatus, Stage, new_claim
from jobs.model.prepared import PreparedImage, PreparedInputs, PreparedVideo
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.objects.documents import load_request
from jobs.objects.keys import job_folder, prepared_key
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.wakeup.notify import notify
from runtime.logs import job_logger
from runtime.settings import Settings
from worker.heartbeat import Heartbeat
from worker.prepare.convert import ConvertedImage, ConvertedMedia, ConvertedVideo, MediaConverter, max_text_tokens
from worker.prepare.deadline import Deadline
from worker.prepare.fetch import MediaFetcher, list_media
from worker.prepare.scratch import scratch
from worker.settlement import RETRY_S, JobSettler

log = structlog.get_logger(__name__)

SERVE_LIMIT_S = 60.0
"""One bell's worth of work; then another bell, so that Celery's time limit can tell work from a hang."""
DRAIN_S = 5.0
"""What a job that is being prepared has to get ready behind TERM."""
END_LIMIT_S = 300.0
"""For an end while the object store is away."""


class Drained(BaseException):
    """Raised by a signal, in the middle of anything; no ``except Exception`` is to take it for an error."""


class Preparer:
    """One process of the prepare worker."""

    def __init__(
        self,
        store: JobStore,
        object_store: ObjectStore,
        settings: Settings,
        *,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._is_draining = is_draining
        self._is_interruptible = False
        self._object_store = object_store
        self._settings = settings
        finalizer = JobFinalizer(store, object_store, retention_days=settings.retention_days)
        self._settler = JobSettler(store, finalizer, timeout_s=END_LIMIT_S)
        self._sources = MediaFetcher(object_store, settings)
        self._deadline: Deadline | None = None
        self.heartbeat = Heartbeat(
            store,
            stage=Stage.PREPARE,
            slots=1,
            interval_s=settings.heartbeat_s,
            is_progressing=lambda: self._deadline is None or not self._deadline.is_over,
        )

    def serve(self) -> None:
        """Answer a bell: prepare until nothing waits."""
        give_way = time.monotonic() + SERVE_LIMIT_S
        while not self._is_draining():
            claimed = self._store.claim(Stage.PREPARE, claim=new_claim(), worker=self.heartbeat.worker.id)
            if claimed is None:
                return
            self.prepare(claimed.job)
            if time.monotonic() >= give_way:
                break
        notify(self._store, Stage.PREPARE)

    def leave_when(self, draining: Callable[[], object]) -> None:
        """Hand a job back that is not ready ``DRAIN_S`` behind ``draining``. Call it in the process's main thread."""

        def interrupt(*_: object) -> None:
            if self._is_interruptible:
                raise Drained

        def watch() -> None:
            draining()
            time.sleep(DRAIN_S)
            os.kill(os.getpid(), signal.SIGUSR2)

        # A signal ends whatever the main thread waits for: a slow host, a decoder, a server.
        signal.signal(signal.SIGUSR2, interrupt)
        threading.Thread(target=watch, name="drain", daemon=True).start()

    def prepare(self, job: Job) -> None:
        """Take one claimed job to the generate stage, or to its end; every error stays inside it."""
        job_log = job_logger(job)
        with self.heartbeat.lease(job) as lease:
            try:
                need = self._prepare(job)
                job_log.info("job.prepared", required_tokens=need)
                notify(self._store, Stage.GENERATE)
                return
            except Drained:
                self._settler.release(job, lease.lost, job_log, reason="drain")
                return
            except ClaimLost:
                job_log.warning("job.claim_lost", stage=Stage.PREPARE)
                return
            except (Unavailable, NotInitialized) as error:
                self._settler.release(job, lease.lost, job_log, reason=error.code)
                # Whoever takes it next, here or elsewhere, finds the same server away.
                time.sleep(RETRY_S)
                return
            except JobFailed as failure:
                end = JobStatus.FAILED, failure.failure_code, failure.message
            except Cancelled as wish:
                end = JobStatus.CANCELLED, wish.code, wish.message
            except Exception as error:  # noqa: BLE001 - one job's crash must not cost the others
                job_log.exception("job.crashed")
                end = JobStatus.FAILED, "internal_error", f"Preparing crashed: {type(error).__name__}."
            finally:
                self._deadline = None
            self._settler.settle(JobResult.without_output(job, *end, claim=job.claim), lease.lost, job_log)

    def _prepare(self, job: Job) -> int:
        self._is_interruptible = True
        try:
            return self._prepare_wholly(job)
        finally:
            self._is_interruptible = False

    def _prepare_wholly(self, job: Job) -> int:
        try:
            request = load_request(self._object_store, job.id)
        except NotFound:
            raise JobFailed("request_missing", "The job's request is gone from the object store.") from None
        self._deadline = deadline = Deadline(self._settings.prepare_timeout_s)
        folder = f"a{job.attempt}-{job.claim}"
        with scratch() as files:
            media = list_media(request.messages, files)

            def tell(done: int) -> None:
                self._store.report_progress(job.id, job.claim, done=done, total=len(media))

            self._sources.fetch(media, deadline)
            converted = MediaConverter(request, self._settings, deadline, tell).convert(media)
            inputs = self._stored(f"{job_folder(job.id)}/{folder}", request, converted)
        need = required_tokens(request, inputs, self._settings.family)
        inputs = replace(inputs, required_tokens=need)
        self._object_store.put(prepared_key(job.id, folder), inputs.to_json(), "application/json")
        self._store.mark_prepared(job.id, job.claim, folder=folder, required_tokens=need)
        return need

    def _stored(self, folder: str, request: JobRequest, converted: Sequence[ConvertedMedia]) -> PreparedInputs:
        """Put what the media became into the object store, and write down what the engine shall read."""
        images: list[PreparedImage] = []
        videos: list[PreparedVideo] = []
        for item in (item for items in converted for item in items):
            if isinstance(item, ConvertedImage):
                key = f"{folder}/{len(images)}.png"
                self._object_store.upload(key, item.file, "image/png")
                size = (item.width, item.height, item.source_width, item.source_height)
                images.append(PreparedImage(key, *size, page=item.page))
            else:
                videos.append(self._stored_video(f"{folder}/video-{len(videos)}", item))
        left = iter(converted)
        messages = [self._as_read(message, left) for message in request.messages]
        return PreparedInputs(messages, tuple(images), tuple(videos))

    def _stored_video(self, key: str, video: ConvertedVideo) -> PreparedVideo:
        self._object_store.upload(f"{key}.zip", video.file, "application/zip")
        self._object_store.upload(f"{key}-sheet.png", video.sheet, "image/png")
        size = (video.width, video.height, video.seconds, video.source_width, video.source_height)
        return PreparedVideo(f"{key}.zip", *size, sheet_key=f"{key}-sheet.png")

    def _as_read(self, message: dict[str, Any], converted: Iterator[ConvertedMedia]) -> dict[str, Any]:
        """The message as the engine reads it: a medium is only a place, or a place for each of its pages."""
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
            parts = [{"type": "text", "text": answer_of(text, self._settings.family.special_tokens)}]
        return {"role": message["role"], "content": parts}


def required_tokens(request: JobRequest, inputs: PreparedInputs, family: Family) -> int:
    """KV room that the job may take: media exactly, text at most.

    The exact count is the engine's, which has the tokenizer; this one only must not be too small.
    """
    media = sum(family.images.tokens(image.width, image.height) for image in inputs.images)
    media += sum(family.videos.tokens(video.width, video.height, video.seconds) for video in inputs.videos)
    thinking = family.context_tokens if request.thinking_budget < 0 else request.thinking_budget
    spoken = max_text_tokens(inputs.messages) + thinking + request.max_answer_tokens
    return min(family.context_tokens, media + spoken)
