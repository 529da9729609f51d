"""The prepare stage: claim → fetch → check → convert → prepared.json, for the gpu worker to read."""

import asyncio
import json
import time
from typing import Any

import structlog

from families import Family, answer_of
from jobs.bells import ring
from jobs.blobs import BlobMissing, Blobs, job_folder, request_key
from jobs.ending import Ending
from jobs.errors import Cancelled, ClaimLost, JobFailed, ThinkqueueError, Unavailable
from jobs.logs import job_logger
from jobs.prepared import PreparedImage, PreparedInputs
from jobs.record import Job, JobStatus, Stage, new_claim
from jobs.request import JobRequest
from jobs.result import JobResult
from jobs.settings import Settings
from jobs.store import JobStore
from worker.egress import Egress, EgressError
from worker.heart import Heart
from worker.media.image import MediaError, normalise

log = structlog.get_logger(__name__)

FETCH_PAUSES_S = (0.5, 2.0)
"""Between tries at a URL whose failure may pass; its host may be restarting."""
DECODE_LIMIT_S = 30.0
"""For one picture; the largest allowed one takes about 3 s."""
SERVE_LIMIT_S = 60.0
"""One bell's worth of work; then another bell, so that Celery's time limit can tell work from a hang."""


class Preparer:
    """One process of the cpu worker."""

    def __init__(self, store: JobStore, blobs: Blobs, settings: Settings) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._ending = Ending(store, blobs, retention_days=settings.retention_days)
        self._phase_ends = float("inf")
        self.heart = Heart(
            store, stage=Stage.PREPARE, slots=1, is_progressing=lambda: time.monotonic() < self._phase_ends
        )

    def serve(self) -> None:
        """Answer a bell: prepare until nothing waits."""
        give_way = time.monotonic() + SERVE_LIMIT_S
        while claimed := self._store.claim(Stage.PREPARE, claim=new_claim(), worker=self.heart.worker.id):
            self.prepare(claimed.job)
            if time.monotonic() >= give_way:
                ring(self._store, Stage.PREPARE)
                return

    def prepare(self, job: Job) -> None:
        """Take one claimed job to the gpu stage, or to its end; every error stays inside it."""
        job_log = job_logger(job)
        with self.heart.hold(job):
            try:
                need = self._prepare(job)
                job_log.info("job.prepared", need_tokens=need)
                ring(self._store, Stage.GPU)
            except JobFailed as failure:
                self._end(job, JobStatus.FAILED, failure.failure_code, failure.message, job_log)
            except Cancelled as reason:
                self._end(job, JobStatus.CANCELLED, reason.code, reason.message, job_log)
            except ClaimLost:
                job_log.warning("job.claim_lost", stage=Stage.PREPARE)
            except Unavailable as error:
                job_log.warning("job.handed_back", code=error.code)
                self._hand_back(job)
            except Exception as error:  # noqa: BLE001 - one job's crash must not cost the others
                job_log.exception("job.prepare_crashed")
                message = f"Preparing crashed: {type(error).__name__}."
                self._end(job, JobStatus.FAILED, "internal_error", message, job_log)
            finally:
                self._phase_ends = float("inf")

    def _prepare(self, job: Job) -> int:
        try:
            request = JobRequest.from_json(self._blobs.get(request_key(job.id)))
        except BlobMissing:
            raise JobFailed("request_missing", "The job's request is gone from the object store.") from None
        sources = [part for message in request.messages for part in message["content"] if part["type"] == "image"]
        self._phase_ends = (
            time.monotonic()
            + len(sources) * ((len(FETCH_PAUSES_S) + 1) * self._settings.fetch_timeout_s + DECODE_LIMIT_S)
            + DECODE_LIMIT_S
        )
        folder = f"a{job.attempt}-{job.claim}"
        images = []
        for number, source in enumerate(sources):
            self._store.progress(job.id, job.claim, done=number, total=len(sources))
            images.append(self._prepare_image(job, folder, number, source))
        inputs = PreparedInputs([self._as_read(message) for message in request.messages], tuple(images))
        self._blobs.put(f"{job_folder(job.id)}/{folder}/prepared.json", inputs.to_json(), "application/json")
        need = need_tokens(request, inputs, self._settings.family)
        self._store.prepared(job.id, job.claim, folder=folder, need_tokens=need)
        return need

    def _prepare_image(self, job: Job, folder: str, number: int, source: dict[str, Any]) -> PreparedImage:
        try:
            data = self._blobs.get(source["key"]) if "key" in source else asyncio.run(self._fetch(source["url"]))
            bounds = self._settings.family.images.within(source.get("max_pixels"))
            image = normalise(data, bounds=bounds, max_pixels=self._settings.max_image_pixels)
        except (EgressError, MediaError) as error:
            raise JobFailed(error.code, f"Picture {number + 1}: {error.message}") from error
        except BlobMissing:
            raise JobFailed("media_missing", f"Picture {number + 1} is gone from the object store.") from None
        key = f"{job_folder(job.id)}/{folder}/{number}.png"
        self._blobs.put(key, image.png, "image/png")
        return PreparedImage(key, image.width, image.height, image.source_width, image.source_height)

    def _as_read(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message as the engine reads it: an image part is only a place; the pictures come in order."""
        parts = [part if part["type"] == "text" else {"type": "image"} for part in message["content"]]
        if message["role"] == "assistant":
            text = "".join(part["text"] for part in parts)
            parts = [{"type": "text", "text": answer_of(text, self._settings.family.marks)}]
        return {"role": message["role"], "content": parts}

    async def _fetch(self, url: str) -> bytes:
        async with Egress(self._settings.egress_allow) as egress:
            for pause in (*FETCH_PAUSES_S, None):
                try:
                    fetched = await egress.fetch(
                        url, max_bytes=self._settings.max_image_bytes, timeout_s=self._settings.fetch_timeout_s
                    )
                except EgressError as error:
                    if pause is None or not error.retryable:
                        raise
                    await asyncio.sleep(pause)
                else:
                    return fetched.body
        raise AssertionError("the last try returns or raises")

    def _end(self, job: Job, status: JobStatus, code: str, message: str, job_log: Any) -> None:
        result = JobResult.without_output(job, status, code, message, claim=job.claim)
        try:
            self._ending.end(result, expect="owner")
        except ThinkqueueError as error:
            # Its lease runs out, and the job is prepared again.
            job_log.warning("job.end_missed", code=error.code)
        else:
            job_log.info("job.ended", status=status, code=code)

    def _hand_back(self, job: Job) -> None:
        try:
            self._store.release(job.id, job.claim)
        except ThinkqueueError:
            return  # its lease runs out, and the keeper sees to it


def need_tokens(request: JobRequest, inputs: PreparedInputs, family: Family) -> int:
    """KV room that the job may take: pictures exactly, text at most (a token is a byte at least).

    The exact count is the engine's, which has the tokenizer; this one only must not be too small.
    """
    pictures = sum(family.images.tokens(image.width, image.height) for image in inputs.images)
    text = len(json.dumps(inputs.messages, ensure_ascii=False).encode())
    thinking = family.context_tokens if request.thinking_budget < 0 else request.thinking_budget
    return min(family.context_tokens, pictures + text + thinking + request.max_answer_tokens)
