"""The gpu stage: claim → inputs → engine → journal → end."""

import io
import queue
import time
import zipfile
from dataclasses import dataclass
from typing import Any

import structlog
from PIL import Image

from jobs.bells import ring
from jobs.blobs import BlobMissing, Blobs, job_folder, request_key
from jobs.ending import Ending
from jobs.errors import ClaimLost, JobFailed, ThinkqueueError, Unavailable
from jobs.events import Journal, JournalToken
from jobs.logs import job_logger
from jobs.prepared import PreparedInputs
from jobs.record import Job, JobStatus, Stage, new_claim
from jobs.request import JobRequest
from jobs.result import JobResult
from jobs.settings import Settings
from jobs.store import Claimed, JobStore
from worker.engine import Delta, Ended, Engine, EngineLoop, Failed, Request, Sampling, Token, Video
from worker.heart import Heart, Lease
from worker.journal import JournalWriter
from worker.outcome import Outcome, Stopped

log = structlog.get_logger(__name__)

FLUSH_S = 0.1
"""How often a running job writes its tokens and asks whether it was cancelled."""
ABORT_LIMIT_S = 60.0
"""A step in progress is finished before an abort is answered; the longest is a prefill of a full context."""
STUCK_S = 60.0
"""An engine that has not finished a step for so long counts as hung."""


class HandedBack(Exception):
    """The worker drains: the job goes back into the line with its journal."""


CANCELLED = Stopped(JobStatus.CANCELLED, "cancelled", "The job was cancelled.")


@dataclass(frozen=True)
class RunLimit:
    """A job's ``max_run_seconds``, counted from its first start."""

    seconds: int
    ends_at: float
    """On the monotonic clock."""

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    @property
    def verdict(self) -> Stopped:
        message = f"The job ran longer than its max_run_seconds, {self.seconds}; what it had made by then is kept."
        return Stopped(JobStatus.FAILED, "run_time_exceeded", message)


class Inference:
    def __init__(self, store: JobStore, blobs: Blobs, settings: Settings, engine: Engine, loop: EngineLoop) -> None:
        self._store = store
        self._blobs = blobs
        self._engine = engine
        self._loop = loop
        self._ending = Ending(store, blobs, retention_days=settings.retention_days)
        self._outcome = Outcome(blobs, settings.family.marks)
        self._hand_back_at = float("inf")
        self._draining = False
        self.heart = Heart(
            store,
            stage=Stage.GPU,
            slots=1,
            is_progressing=lambda: time.monotonic() - loop.last_progress < STUCK_S,
        )

    def drain(self, *, grace_s: float) -> None:
        """Claim no more; what still runs after ``grace_s`` is handed back."""
        self._hand_back_at = time.monotonic() + grace_s
        self._draining = True
        self.heart.tell("draining")

    def serve(self) -> None:
        """Answer a bell: run jobs until nothing waits, or nothing more fits."""
        while not self._draining:
            claimed = self._store.claim(
                Stage.GPU,
                claim=new_claim(),
                worker=self.heart.worker.id,
                room_tokens=self._engine.context_tokens,
            )
            if claimed is None:
                return
            self.run(claimed)
        # Another worker may be free for what this one leaves.
        ring(self._store, Stage.GPU)

    def run(self, claimed: Claimed) -> None:
        """Take one claimed job to its end, or back into the line; every error stays inside it."""
        job, job_log = claimed.job, job_logger(claimed.job)
        with self.heart.hold(job) as lease:
            try:
                result = self._generate(claimed, lease, job_log)
            except JobFailed as failure:
                error = {"code": failure.failure_code, "message": failure.message}
                result = JobResult(job.id, JobStatus.FAILED, job.attempt, job.claim, error)
            except ClaimLost:
                job_log.warning("job.claim_lost", stage=Stage.GPU)
                return
            except (HandedBack, Unavailable) as reason:
                job_log.info("job.handed_back", reason=type(reason).__name__)
                self._hand_back(job)
                return
            except Exception as error:  # noqa: BLE001 - one job's crash must not cost the others
                job_log.exception("job.run_crashed")
                code, message = "internal_error", f"Running the job crashed: {type(error).__name__}."
                result = JobResult(job.id, JobStatus.FAILED, job.attempt, job.claim, {"code": code, "message": message})
            self._end(result, lease, job_log)

    def _generate(self, claimed: Claimed, lease: Lease, job_log: Any) -> JobResult:
        job = claimed.job
        try:
            request = JobRequest.from_json(self._blobs.get(request_key(job.id)))
            prepared = PreparedInputs.from_json(self._blobs.get(f"{job_folder(job.id)}/{job.prepared}/prepared.json"))
            pictures = [Image.open(io.BytesIO(self._blobs.get(image.key))) for image in prepared.images]
            videos = [Video(_frames(self._blobs.get(video.key)), video.seconds) for video in prepared.videos]
        except BlobMissing:
            raise JobFailed("media_missing", "The job's inputs are gone from the object store.") from None

        journal = Journal.from_events(self._store.events(job.id))
        restarted = bool(journal.tokens) and journal.revision != self._engine.revision
        tokens = () if restarted else journal.tokens
        writer = JournalWriter(self._store, job, last_seq=claimed.last_seq, tokens=len(tokens))
        writer.started(revision=self._engine.revision, restarted=restarted)
        job_log.info("job.started", resumed_tokens=len(tokens))

        # Bounded by the model's context: a token is at most one event.
        events: queue.SimpleQueue[Delta | Ended | Failed] = queue.SimpleQueue()
        self._loop.submit(
            Request(
                id=job.id,
                inputs=self._engine.prepare(
                    prepared.messages, pictures, videos, is_thinking=request.thinking_budget != 0
                ),
                thinking_budget=request.thinking_budget,
                max_answer_tokens=request.max_answer_tokens,
                sampling=self._sampling(request),
                keeps_box_marks=request.box_marks == "keep",
                journal=tuple(Token(token.id, token.forced) for token in tokens),
            ),
            events.put,
        )
        end, stopped = self._follow(job, events, writer, lease, self._run_limit(request, claimed.ran_ms))
        return self._outcome.result(job, prepared, end, stopped)

    def _follow(
        self,
        job: Job,
        events: "queue.SimpleQueue[Delta | Ended | Failed]",
        writer: JournalWriter,
        lease: Lease,
        limit: RunLimit,
    ) -> tuple[Ended, Stopped | None]:
        """Write the job's tokens as they come, until it ends, is stopped, lost, or handed back.

        Raises:
            JobFailed, ClaimLost, HandedBack
        """
        while True:
            end = _collect(events, writer)
            signal = writer.flush()
            if signal == "lost" or lease.lost.is_set():
                self._loop.abort(job.id)
                raise ClaimLost
            if isinstance(end, Ended):
                return end, None
            if isinstance(end, Failed):
                raise JobFailed(end.code, end.message)
            if signal == "cancel" or lease.cancelled.is_set():
                return self._abort(job, events, writer), CANCELLED
            if limit.is_over:
                return self._abort(job, events, writer), limit.verdict
            if time.monotonic() >= self._hand_back_at:
                self._abort(job, events, writer)
                raise HandedBack

    def _abort(self, job: Job, events: "queue.SimpleQueue[Delta | Ended | Failed]", writer: JournalWriter) -> Ended:
        self._loop.abort(job.id)
        give_up = time.monotonic() + ABORT_LIMIT_S
        while time.monotonic() < give_up:
            end = _collect(events, writer)
            if isinstance(end, Ended):
                writer.flush_fully(limit_s=5)
                return end
            if isinstance(end, Failed):
                raise JobFailed(end.code, end.message)
        raise JobFailed("engine_stuck", "The engine did not answer an abort.")

    def _sampling(self, request: JobRequest) -> Sampling:
        defaults = self._engine.sampling_defaults
        chosen = request.sampling
        return Sampling(
            temperature=chosen.get("temperature", defaults.temperature),
            top_p=chosen.get("top_p", defaults.top_p),
            top_k=int(chosen.get("top_k", defaults.top_k)),
            repetition_penalty=chosen.get("repetition_penalty", defaults.repetition_penalty),
            seed=request.seed,
        )

    def _run_limit(self, request: JobRequest, ran_ms: int) -> RunLimit:
        if request.max_run_s is None:
            return RunLimit(0, float("inf"))
        return RunLimit(request.max_run_s, time.monotonic() + request.max_run_s - ran_ms / 1000)

    def _end(self, result: JobResult, lease: Lease, job_log: Any) -> None:
        """The three steps, tried while the lease can be held; after that the keeper sees to the job."""
        while not lease.lost.is_set():
            try:
                status = self._ending.end(result, expect="owner")
            except ClaimLost:
                job_log.warning("job.claim_lost", stage="end")
                return
            except ThinkqueueError as error:
                job_log.warning("job.end_delayed", code=error.code)
                time.sleep(1)
            else:
                job_log.info(
                    "job.ended",
                    status=status,
                    code=result.error_code,
                    finish_reason=result.finish_reason,
                    **result.usage,
                )
                return

    def _hand_back(self, job: Job) -> None:
        try:
            self._store.release(job.id, job.claim)
        except ThinkqueueError:
            return  # its lease runs out


def _frames(archive: bytes) -> list[Image.Image]:
    """The frames of a PreparedVideo."""
    with zipfile.ZipFile(io.BytesIO(archive)) as frames:
        return [Image.open(io.BytesIO(frames.read(name))) for name in frames.namelist()]


def _collect(events: "queue.SimpleQueue[Delta | Ended | Failed]", writer: JournalWriter) -> Ended | Failed | None:
    """What the engine made within one flush; stops at the end of the generation."""
    until = time.monotonic() + FLUSH_S
    while (left := until - time.monotonic()) > 0:
        try:
            event = events.get(timeout=left)
        except queue.Empty:
            return None
        if not isinstance(event, Delta):
            return event
        writer.tokens(
            [JournalToken(token.id, token.forced) for token in event.tokens],
            stage=event.stage,
            text=event.text,
            thinking_tokens=event.thinking_tokens,
        )
    return None
