"""Writes a running generation into its job's event stream, and hears from there whether to go on."""

import time
from collections.abc import Sequence

from jobs.errors import Unavailable
from jobs.events import Event, EventType, JournalToken, tokens_data
from jobs.record import Job
from jobs.store import JobStore, Signal


class JournalWriter:
    """Keeps what the store would not take: a generation goes on while Redis is away.

    Bounded by the model's context: a token is at most one event.
    """

    def __init__(self, store: JobStore, job: Job, *, last_seq: int, tokens: int) -> None:
        self._store = store
        self._job = job
        self._next_seq = last_seq + 1
        self._tokens = tokens
        self._unwritten: list[Event] = []

    def started(self, *, revision: str, restarted: bool) -> None:
        """``restarted``: what stands before this event belongs to another model and does not count."""
        data = {"attempt": self._job.attempt, "revision": revision}
        if restarted:
            self._tokens = 0
            data["restarted"] = True
        self._add("started", data)

    def tokens(self, tokens: Sequence[JournalToken], *, stage: str, text: str, thinking_tokens: int) -> None:
        self._tokens += len(tokens)
        self._add("tokens", tokens_data(tokens, stage, text, thinking_tokens))

    def flush(self) -> Signal:
        """Write what there is. ``ok`` also when Redis does not answer: the lease decides, not a lost call."""
        try:
            signal = self._store.append(self._job.id, self._job.claim, self._unwritten, tokens=self._tokens)
        except Unavailable:
            return "ok"
        self._unwritten.clear()
        return signal

    def flush_fully(self, *, limit_s: float) -> bool:
        """Try until all is written; False: it is not, and whoever goes on will make those tokens again."""
        give_up = time.monotonic() + limit_s
        while self.flush() == "ok" and self._unwritten:
            if time.monotonic() >= give_up:
                return False
            time.sleep(0.2)
        return not self._unwritten

    def _add(self, kind: EventType, data: dict[str, object]) -> None:
        self._unwritten.append(Event(self._next_seq, kind, data))
        self._next_seq += 1
