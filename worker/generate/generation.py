"""Runs one job on the engine: read the inputs, stream the tokens to the journal, build the result."""

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

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
    SequenceError,
    Token,
    Video,
)
from jobs.errors import ClaimLost, JobFailed, NotFound
from jobs.model.documents.prepared import PreparedInputs
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.events import Journal, JournalToken
from jobs.model.job import MAX_LOST_LEASES, JobStatus
from jobs.model.structured_output.response_format import answer_grammar
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import load_prepared, load_request
from jobs.objects.store import ObjectStore
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob, LeaseSignal
from worker.generate.journal import JournalWriter
from worker.generate.journal_flusher import JournalFlusher
from worker.generate.prepared_media import open_frames, open_image
from worker.generate.result_builder import Interruption, ResultBuilder
from worker.generate.run_limit import RunLimit
from worker.heartbeat import Lease
from worker.stage_runner import Drain, JobReleased

CHECK_INTERVAL_S = 0.25
"""How often a waiting job checks its lease, its time limit and the worker's drain."""
ABORT_TIMEOUT_S = 60.0
"""The engine finishes the step in progress before it answers an abort; the longest is a prefill of a full context."""
TAIL_TIMEOUT_S = 60.0
"""How long to retry writing the last tokens to the stream. The end of the job needs the same server, so there is no
hurry. A table that was wiped never accepts them, and the result must be stored all the same."""

CANCELLED = Interruption(JobStatus.CANCELLED, "cancelled", "The job was cancelled.")


@dataclass(frozen=True)
class GenerationContext:
    """What all generations of a worker share."""

    store: JobStore
    object_store: ObjectStore
    engine: Engine
    loop: EngineLoop
    flusher: JournalFlusher
    result_builder: ResultBuilder
    drain: Drain
    input_slots: threading.Semaphore
    """Limits the threads that build inputs to the cores that the engine leaves free."""


class Generation:
    """Runs one job in a thread that mostly waits: tokens go from the engine's thread to the flusher's without it."""

    def __init__(self, context: GenerationContext, claimed: ClaimedJob, lease: Lease, job_log: Any) -> None:
        self._context = context
        self._log = job_log
        self._claimed = claimed
        self._lease = lease
        # Bounded: one end, and a few signals until the end is read.
        self._events: queue.SimpleQueue[Finished | Failed | LeaseSignal] = queue.SimpleQueue()

    def run(self) -> JobResult:
        """Run the job and return its result.

        Raises:
            JobFailed, ClaimLost, JobReleased, Unavailable, NotInitialized
        """
        job, context = self._claimed.job, self._context
        request, prepared = self._read_inputs()
        journal = Journal.from_events(context.store.events(job.id))
        restarted = bool(journal.tokens) and journal.revision != context.engine.revision
        tokens = () if restarted else journal.tokens
        writer = JournalWriter(
            context.store,
            job,
            last_seq=self._claimed.last_seq,
            tokens=len(tokens),
            on_first_tokens=context.flusher.wake,
        )
        writer.add_started(revision=context.engine.revision, restarted=restarted)
        self._log.info("job.started", resumed_tokens=len(tokens))
        files = self._read_media(prepared)  # before the slot: a store that is slow for one job must not delay others
        with context.input_slots:
            inputs = self._build_inputs(request, prepared, files)
        limit = RunLimit.of(request, self._claimed.ran_ms)
        with context.flusher.register(writer, self._events.put):
            context.loop.submit(self._build_request(request, inputs, tokens), self._event_listener(writer))
            try:
                end, interruption = self._wait(limit)
            except BaseException:
                context.loop.abort(job.claim)  # the engine must not keep a sequence without a job
                self._write_tail(writer)
                raise
        writer.end_tokens()
        self._write_tail(writer)
        return context.result_builder.build_and_upload(job, prepared, end, interruption)

    def _read_inputs(self) -> tuple[JobRequest, PreparedInputs]:
        job, object_store = self._claimed.job, self._context.object_store
        try:
            return load_request(object_store, job.id), load_prepared(object_store, job.id, job.prepared_folder)
        except NotFound:
            raise JobFailed("media_missing", "The job's inputs are gone from the object store.") from None

    def _read_media(self, prepared: PreparedInputs) -> dict[str, bytes]:
        """Return the contents of the images and videos by their keys."""
        object_store = self._context.object_store
        try:
            keys = [image.key for image in prepared.images] + [video.key for video in prepared.videos]
            return {key: object_store.get(key) for key in keys}
        except ObjectNotFound:
            raise JobFailed("media_missing", "The job's inputs are gone from the object store.") from None

    def _build_inputs(self, request: JobRequest, prepared: PreparedInputs, files: dict[str, bytes]) -> ModelInputs:
        images = [open_image(files[image.key], image) for image in prepared.images]
        videos = [Video(open_frames(files[video.key], video), video.seconds) for video in prepared.videos]
        enable_thinking = request.thinking_budget != 0
        return self._context.engine.prepare(prepared.messages, images, videos, enable_thinking=enable_thinking)

    def _build_request(self, request: JobRequest, inputs: ModelInputs, tokens: tuple[JournalToken, ...]) -> Request:
        defaults, chosen, total = self._context.engine.sampling_defaults, request.sampling, request.max_total_tokens
        return Request(
            id=self._claimed.job.claim,
            inputs=inputs,
            thinking_budget=request.thinking_budget,
            max_answer_tokens=request.max_answer_tokens if total is None else request.max_answer_of_total or total,
            max_total_tokens=total,
            sampling=SamplingParams(
                temperature=chosen.get("temperature", defaults.temperature),
                top_p=chosen.get("top_p", defaults.top_p),
                top_k=int(chosen.get("top_k", defaults.top_k)),
                repetition_penalty=chosen.get("repetition_penalty", defaults.repetition_penalty),
                seed=request.seed,
            ),
            stop=request.stop,
            grammar=self._compile_grammar(request),
            keep_box_tokens=request.box_tokens == "keep",
            journal=tuple(Token(token.id, token.forced) for token in tokens),
            group=self._claimed.job.tenant,
        )

    def _compile_grammar(self, request: JobRequest) -> str | None:
        if request.response_format is None:
            return None
        try:
            grammar = answer_grammar(request.response_format)
            self._context.engine.compile_grammar(grammar)  # in this thread: the engine's must not wait
        except (SequenceError, ValueError) as error:
            raise JobFailed("grammar_failed", f"The response_format cannot be enforced: {error}") from None
        return grammar

    def _event_listener(self, writer: JournalWriter) -> Any:
        """Return the function that the engine's thread calls with each event."""

        def listen(event: Event) -> None:
            if isinstance(event, Delta):
                tokens = [JournalToken(token.id, token.forced) for token in event.tokens]
                writer.add_tokens(tokens, stage=event.phase, text=event.text, thinking_tokens=event.thinking_tokens)
            else:
                self._events.put(event)

        return listen

    def _wait(self, limit: RunLimit) -> tuple[Finished, Interruption | None]:
        """Wait until the generation ends or is interrupted."""
        lease, drain = self._lease, self._context.drain
        while True:
            try:
                event = self._events.get(timeout=CHECK_INTERVAL_S)
            except queue.Empty:
                event = "ok"
            if isinstance(event, Finished):
                return event, None
            if isinstance(event, Failed):
                raise self._failure(event)
            if event == "lost" or lease.lost.is_set():
                raise ClaimLost
            if event == "cancel" or lease.cancelled.is_set():
                return self._abort(), CANCELLED
            if limit.is_over:
                return self._abort(), limit.interruption
            if drain.is_over:
                self._abort()
                raise JobReleased("drain")

    def _abort(self) -> Finished:
        """Stop the sequence in the engine; return what it has generated."""
        self._context.loop.abort(self._claimed.job.claim)
        give_up_at = time.monotonic() + ABORT_TIMEOUT_S
        while (left := give_up_at - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(event, Finished):
                return event
            if isinstance(event, Failed):
                raise self._failure(event)
        raise JobFailed("engine_stuck", "The engine did not answer an abort.")

    def _failure(self, failed: Failed) -> BaseException:
        if failed.code != DEVICE_LOST:
            return JobFailed(failed.code, failed.message)
        if self._claimed.job.lost_leases + 1 >= MAX_LOST_LEASES:
            message = f"The GPU failed while it ran the job; this was the {MAX_LOST_LEASES}th worker that the job lost."
            return JobFailed("worker_lost", message)
        return JobReleased(DEVICE_LOST, is_loss=True)

    def _write_tail(self, writer: JournalWriter) -> None:
        """Write the last tokens before the end of the job: readers of the stream must not miss them."""
        writer.flush_fully(until=time.monotonic() + TAIL_TIMEOUT_S, stop=self._lease.lost)
