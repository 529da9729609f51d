"""Writes a running generation to its job's event stream; each write also returns the state of the lease."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from jobs.errors import JournalGap, NotInitialized, ThinkqueueError, Unavailable
from jobs.model.events import Event, EventType, JournalToken, tokens_data
from jobs.model.job import Job
from jobs.table.store import JobStore
from jobs.table.store.appends import Append
from jobs.table.types import LeaseSignal
from runtime.telemetry import metrics
from worker.generate.engine_metrics import TokenTimes


class JournalWriter:
    """Buffers the events of one claim: the engine's thread adds them, another thread flushes them.

    It keeps all events of its claim: the generation continues while Redis is away, and a Redis that restarted without
    its last second receives the newest events again. The buffer is bounded by the model's context, because a token is
    at most one event.
    """

    def __init__(
        self,
        store: JobStore,
        job: Job,
        *,
        last_seq: int,
        tokens: int,
        on_first_tokens: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Args:
            last_seq: sequence number of the newest event in the job's stream.
            tokens: tokens in the journal that the generation resumes from.
            on_first_tokens: called in the engine's thread when the first tokens of this claim are added.
        """
        self._store = store
        self._job = job
        self._first_seq = last_seq + 1
        self._tokens = tokens
        self._times = TokenTimes()
        self._events: list[Event] = []
        self._on_first_tokens = on_first_tokens
        self._has_tokens = False
        self.is_urgent = False
        """The first tokens are not written yet: a reader waits for them."""
        self._sending = 0
        self._written = 0
        """How many of the events are written."""
        self._adding = threading.Lock()
        self._flushing = threading.Lock()
        """Two concurrent flushes would write events in the wrong order."""

    @property
    def job_id(self) -> str:
        return self._job.id

    def add_started(self, *, revision: str, restarted: bool) -> None:
        """Add the event that a worker has started the job.

        Args:
            revision: of the model's weights.
            restarted: the earlier events are from other weights, and readers must discard them.
        """
        data = {"attempt": self._job.attempt, "revision": revision}
        if restarted:
            self._tokens = 0
            data["restarted"] = True
        if self._tokens:
            metrics.RESUMES.inc()
        self._add("started", data)

    def add_tokens(self, tokens: Sequence[JournalToken], *, stage: str, text: str, thinking_tokens: int) -> None:
        self._times.record(len(tokens))
        self._add("tokens", tokens_data(tokens, stage, text, thinking_tokens), tokens=len(tokens))
        if not self._has_tokens:
            self._has_tokens = self.is_urgent = True
            self._on_first_tokens()

    def end_tokens(self) -> None:
        """Observe the times of the tokens: no more are added."""
        self._times.end()

    def flush(self) -> LeaseSignal:
        """Write the new events and return the state of the lease. ``lost`` and ``unknown``: nothing was written.

        Raises:
            Unavailable, NotInitialized: nothing was written; the next flush tries again.
        """
        with self._flushing:
            return self._finish(self._store.append_many([self._unwritten()])[0])

    @staticmethod
    def flush_together(writers: Sequence["JournalWriter"]) -> "dict[JournalWriter, LeaseSignal | ThinkqueueError]":
        """``flush`` for several jobs in one round trip; return what it returns or raises for each.

        A writer that another thread flushes at present is left out.

        Raises:
            Unavailable: Redis does not answer.
        """
        with ExitStack() as held:
            free = []
            for writer in writers:
                if writer._flushing.acquire(blocking=False):
                    held.callback(writer._flushing.release)
                    free.append(writer)
            if not free:
                return {}
            replies = free[0]._store.append_many([writer._unwritten() for writer in free])
            results: dict[JournalWriter, LeaseSignal | ThinkqueueError] = {}
            for writer, reply in zip(free, replies, strict=True):
                try:
                    results[writer] = writer._finish(reply)
                except ThinkqueueError as error:
                    results[writer] = error
            return results

    def _unwritten(self) -> Append:
        with self._adding:
            self.is_urgent = False
            events, tokens = self._events[self._written :], self._tokens
        self._sending = len(events)
        return Append(self._job.id, self._job.claim, events, tokens)

    def _finish(self, reply: LeaseSignal | ThinkqueueError) -> LeaseSignal:
        """Record what was written, and return or raise the reply."""
        if isinstance(reply, JournalGap):
            self._written = max(0, reply.last_seq + 1 - self._first_seq)
        if isinstance(reply, ThinkqueueError):
            raise reply
        if reply in ("ok", "cancel"):
            self._written += self._sending
        return reply

    def flush_fully(self, *, until: float, stop: threading.Event) -> bool:
        """Flush until all events are written; return False if they are not.

        Args:
            until: when to give up, on the monotonic clock.
            stop: set to give up at once.
        """
        while True:
            try:
                signal = self.flush()
            except (Unavailable, NotInitialized):
                signal = "unknown"
            if signal in ("ok", "cancel"):
                return True
            if signal == "lost" or time.monotonic() >= until or stop.wait(0.2):
                return False

    def _add(self, event_type: EventType, data: dict[str, object], *, tokens: int = 0) -> None:
        with self._adding:
            self._tokens += tokens
            self._events.append(Event(self._first_seq + len(self._events), event_type, data))
