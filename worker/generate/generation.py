"""One job's way through the engine: inputs → journal → tokens → result."""

import io
import queue
import threading
import time
import zipfile
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine import (
    DEVICE_LOST,
    Delta,
    Engine,
    EngineLoop,
    Event,
    Failed,
    Finished,
    ModelInputs,
    Request,
    SamplingParams,
    Token,
    Video,
)
from jobs.errors import ClaimLost, JobFailed, NotFound
from jobs.model.events import Journal, JournalToken
from jobs.model.job import MAX_LOST_LEASES, JobStatus
from jobs.model.prepared import PreparedInputs
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import load_prepared, load_request
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob, LeaseSignal
from worker.generate.journal import JournalWriter
from worker.generate.journal_flusher import JournalFlusher
from worker.generate.result_builder import Interruption, ResultBuilder
from worker.heartbeat import Lease

LOOK_S = 0.25
"""How often a job that hears nothing looks at its lease, its time limit and the worker's drain."""
ABORT_LIMIT_S = 60.0
"""A step in progress is finished before an abort is answered; the longest is a prefill of a full context."""
TAIL_LIMIT_S = 60.0
"""For the last tokens of a generation to reach its stream. Its end needs the same server, so there is no hurry; a table
that was wiped never takes them, and the result has to be written all the same."""


class JobReleased(Exception):
    """The job goes back into the line with its journal."""

    def __init__(self, reason: str, *, is_loss: bool = False) -> None:
        super().__init__(reason)
        self.is_loss = is_loss
        """The worker died of something, and it may have been this job."""


CANCELLED = Interruption(JobStatus.CANCELLED, "cancelled", "The job was cancelled.")


@dataclass(frozen=True)
class RunLimit:
    """A job's ``max_run_seconds``, counted from its first start."""

    seconds: int
    ends_at: float
    """On the monotonic clock."""

    @classmethod
    def of(cls, request: JobRequest, ran_ms: int) -> "RunLimit":
        if request.max_run_s is None:
            return cls(0, float("inf"))
        return cls(request.max_run_s, time.monotonic() + request.max_run_s - ran_ms / 1000)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    @property
    def verdict(self) -> Interruption:
        message = f"The job ran longer than its max_run_seconds, {self.seconds}; what it had made by then is kept."
        return Interruption(JobStatus.FAILED, "run_time_exceeded", message)


@dataclass
class Drain:
    """Until when the worker's jobs may run."""

    hand_back_at: float = float("inf")
    """On the monotonic clock."""

    @property
    def is_on(self) -> bool:
        return self.hand_back_at < float("inf")

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.hand_back_at


@dataclass(frozen=True)
class GenerationContext:
    """What all generations of a worker share."""

    store: JobStore
    object_store: ObjectStore
    engine: Engine
    loop: EngineLoop
    flusher: JournalFlusher
    outcome: ResultBuilder
    drain: Drain
    preparing: threading.Semaphore
    """Inputs are made by as many threads as there are cores to spare: the rest is the engine's."""


class Generation:
    """Lives in a thread that mostly waits: tokens go from the engine's thread to the flusher's past it."""

    def __init__(self, context: GenerationContext, claimed: ClaimedJob, lease: Lease, job_log: Any) -> None:
        self._context = context
        self._log = job_log
        self._claimed = claimed
        self._lease = lease
        # Bounded: one end, and a few signals until it is heard.
        self._heard: queue.SimpleQueue[Finished | Failed | LeaseSignal] = queue.SimpleQueue()

    def run(self) -> JobResult:
        """Take the job to its result.

        Raises:
            JobFailed, ClaimLost, JobReleased, Unavailable, NotInitialized
        """
        job, context = self._claimed.job, self._context
        request, prepared = self._read()
        journal = Journal.from_events(context.store.events(job.id))
        restarted = bool(journal.tokens) and journal.revision != context.engine.revision
        tokens = () if restarted else journal.tokens
        writer = JournalWriter(context.store, job, last_seq=self._claimed.last_seq, tokens=len(tokens))
        writer.started(revision=context.engine.revision, restarted=restarted)
        self._log.info("job.started", resumed_tokens=len(tokens))
        with context.preparing:
            inputs = self._inputs(request, prepared)
        limit = RunLimit.of(request, self._claimed.ran_ms)
        with context.flusher.follow(writer, self._heard.put):
            context.loop.submit(self._request(request, inputs, tokens), self._listener(writer))
            try:
                end, stopped = self._follow(limit)
            except BaseException:
                context.loop.abort(job.claim)  # nothing may stay in the engine whose job is gone
                self._write_tail(writer)
                raise
        self._write_tail(writer)
        return context.outcome.result(job, prepared, end, stopped)

    def _read(self) -> tuple[JobRequest, PreparedInputs]:
        job, object_store = self._claimed.job, self._context.object_store
        try:
            return load_request(object_store, job.id), load_prepared(object_store, job.id, job.prepared_folder)
        except NotFound:
            raise JobFailed("media_missing", "The job's inputs are gone from the object store.") from None

    def _inputs(self, request: JobRequest, prepared: PreparedInputs) -> ModelInputs:
        object_store = self._context.object_store
        try:
            pictures = [Image.open(io.BytesIO(object_store.get(image.key))) for image in prepared.images]
            videos = [Video(_frames(object_store.get(video.key)), video.seconds) for video in prepared.videos]
        except ObjectNotFound:
            raise JobFailed("media_missing", "The job's inputs are gone from the object store.") from None
        enable_thinking = request.thinking_budget != 0
        return self._context.engine.prepare(prepared.messages, pictures, videos, enable_thinking=enable_thinking)

    def _request(self, request: JobRequest, inputs: ModelInputs, tokens: tuple[JournalToken, ...]) -> Request:
        defaults, chosen = self._context.engine.sampling_defaults, request.sampling
        return Request(
            id=self._claimed.job.claim,
            inputs=inputs,
            thinking_budget=request.thinking_budget,
            max_answer_tokens=request.max_answer_tokens,
            sampling=SamplingParams(
                temperature=chosen.get("temperature", defaults.temperature),
                top_p=chosen.get("top_p", defaults.top_p),
                top_k=int(chosen.get("top_k", defaults.top_k)),
                repetition_penalty=chosen.get("repetition_penalty", defaults.repetition_penalty),
                seed=request.seed,
            ),
            keep_box_tokens=request.box_tokens == "keep",
            journal=tuple(Token(token.id, token.forced) for token in tokens),
        )

    def _listener(self, writer: JournalWriter) -> Any:
        """What the engine's thread calls with each event."""

        def listen(event: Event) -> None:
            if isinstance(event, Delta):
                tokens = [JournalToken(token.id, token.forced) for token in event.tokens]
                writer.tokens(tokens, stage=event.phase, text=event.text, thinking_tokens=event.thinking_tokens)
            else:
                self._heard.put(event)

        return listen

    def _follow(self, limit: RunLimit) -> tuple[Finished, Interruption | None]:
        """Wait until the generation ends, or something ends it."""
        lease, drain = self._lease, self._context.drain
        while True:
            try:
                heard = self._heard.get(timeout=LOOK_S)
            except queue.Empty:
                heard = "ok"
            if isinstance(heard, Finished):
                return heard, None
            if isinstance(heard, Failed):
                raise self._failure(heard)
            if heard == "lost" or lease.lost.is_set():
                raise ClaimLost
            if heard == "cancel" or lease.cancelled.is_set():
                return self._abort(), CANCELLED
            if limit.is_over:
                return self._abort(), limit.verdict
            if drain.is_over:
                self._abort()
                raise JobReleased("drain")

    def _abort(self) -> Finished:
        """Stop the engine on this job; its answer says what was made."""
        self._context.loop.abort(self._claimed.job.claim)
        give_up = time.monotonic() + ABORT_LIMIT_S
        while (left := give_up - time.monotonic()) > 0:
            try:
                heard = self._heard.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(heard, Finished):
                return heard
            if isinstance(heard, Failed):
                raise self._failure(heard)
        raise JobFailed("engine_stuck", "The engine did not answer an abort.")

    def _failure(self, failed: Failed) -> Exception:
        if failed.code != DEVICE_LOST:
            return JobFailed(failed.code, failed.message)
        if self._claimed.job.lost_leases + 1 >= MAX_LOST_LEASES:
            return JobFailed("worker_lost", f"Its GPU failed under it once more, the {MAX_LOST_LEASES}th lost worker.")
        return JobReleased(DEVICE_LOST, is_loss=True)

    def _write_tail(self, writer: JournalWriter) -> None:
        """The last tokens, before the end is told: readers of the stream must not miss them."""
        writer.flush_fully(until=time.monotonic() + TAIL_LIMIT_S, stop=self._lease.lost)


def _frames(archive: bytes) -> list[Image.Image]:
    """The frames of a PreparedVideo."""
    with zipfile.ZipFile(io.BytesIO(archive)) as frames:
        return [Image.open(io.BytesIO(frames.read(name))) for name in frames.namelist()]
