"""Writes a running generation into its job's event stream, and hears from there whether to go on."""

import threading
import time
from collections.abc import Sequence

from jobs.errors import JournalGap, NotInitialized, Unavailable
from jobs.model.events import Event, EventType, JournalToken, tokens_data
from jobs.model.job import Job
from jobs.table.store import JobStore
from jobs.table.types import LeaseSignal
from runtime import metrics
from worker.generate.engine_metrics import TimeToFirstToken


class JournalWriter:
    """The engine's thread adds, another one flushes.

    Keeps all that is written under its claim: a generation goes on while Redis is away, and a Redis that came back
    without its last second gets the newest events again. Bounded by the model's context: a token is at most one event.
    """

    def __init__(self, store: JobStore, job: Job, *, last_seq: int, tokens: int) -> None:
        self._store = store
        self._job = job
        self._first_seq = last_seq + 1
        self._tokens = tokens
        self._first_token = TimeToFirstToken()
        self._events: list[Event] = []
        self._written = 0
        """Of the events, from the first on."""
        self._adding = threading.Lock()
        self._flushing = threading.Lock()
        """Two flushes at once would write events in the wrong order."""

    @property
    def job_id(self) -> str:
        return self._job.id

    def started(self, *, revision: str, restarted: bool) -> None:
        """``restarted``: what stands before this event belongs to another model and does not count."""
        data = {"attempt": self._job.attempt, "revision": revision}
        if restarted:
            self._tokens = 0
            data["restarted"] = True
        if self._tokens:
            metrics.RESUMES.inc()
        self._add("started", data)

    def tokens(self, tokens: Sequence[JournalToken], *, stage: str, text: str, thinking_tokens: int) -> None:
        self._first_token.came()
        self._add("tokens", tokens_data(tokens, stage, text, thinking_tokens), tokens=len(tokens))

    def flush(self) -> LeaseSignal:
        """Write what there is, and ask whether to go on. ``lost`` and ``unknown``: nothing was written.

        Raises:
            Unavailable, NotInitialized: nothing was written; it is kept for the next flush.
        """
        with self._flushing:
            with self._adding:
                events, tokens = self._events[self._written :], self._tokens
            try:
                signal = self._store.append(self._job.id, self._job.claim, events, tokens=tokens)
            except JournalGap as gap:
                self._written = max(0, gap.last_seq + 1 - self._first_seq)
                raise
            if signal in ("ok", "cancel"):
                self._written += len(events)
            return signal

    def flush_fully(self, *, until: float, stop: threading.Event) -> bool:
        """Try until all is written, until a moment of the monotonic clock, or ``stop``. False: not all is."""
        while True:
            try:
                signal = self.flush()
            except (Unavailable, NotInitialized):
                signal = "unknown"
            if signal in ("ok", "cancel"):
                return True
            if signal == "lost" or time.monotonic() >= until or stop.wait(0.2):
                return False

    def _add(self, kind: EventType, data: dict[str, object], *, tokens: int = 0) -> None:
        with self._adding:
            self._tokens += tokens
            self._events.append(Event(self._first_seq + len(self._events), kind, data))
