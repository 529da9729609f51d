"""Flushes the journals of all running jobs from one thread, and passes on what the job table answers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from jobs.errors import NotInitialized, ThinkqueueError, Unavailable
from jobs.table.types import LeaseSignal
from worker.generate.journal import JournalWriter

log = structlog.get_logger(__name__)

FLUSH_S = 0.1
"""How often a running job writes its tokens and learns whether it was cancelled."""

MAX_BATCH = 64
"""Journals that one round trip writes. Redis serves other clients between the journals of a batch."""

OnSignal = Callable[[LeaseSignal], object]


class JournalFlusher:
    """Owns the thread that flushes; a generation registers its journal for the time that it runs.

    Args:
        interval_s: how often all journals are written.
    """

    def __init__(self, *, interval_s: float = FLUSH_S) -> None:
        self._interval_s = interval_s
        self._writers: dict[JournalWriter, OnSignal] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-flusher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join(timeout=5)

    @contextmanager
    def register(self, writer: JournalWriter, on_signal: OnSignal) -> Iterator[None]:
        """Flush a job's journal inside the block.

        Args:
            on_signal: called in the flusher's thread with ``cancel``, ``lost`` or ``unknown``.
        """
        with self._lock:
            self._writers[writer] = on_signal
        try:
            yield
        finally:
            with self._lock:
                del self._writers[writer]

    def wake(self) -> None:
        """Write the journals whose first tokens have come now, without waiting for the next flush of all."""
        self._wake.set()

    def _run(self) -> None:
        next_flush = time.monotonic() + self._interval_s
        while not self._stopped.is_set():
            is_woken = self._wake.wait(max(0.0, next_flush - time.monotonic()))
            self._wake.clear()
            with self._lock:
                writers = dict(self._writers)
            if is_woken:
                self._flush({writer: on_signal for writer, on_signal in writers.items() if writer.is_urgent})
            if time.monotonic() >= next_flush:
                self._flush(writers)
                next_flush = time.monotonic() + self._interval_s

    def _flush(self, writers: dict[JournalWriter, OnSignal]) -> None:
        """Write these journals, many in a round trip. An error of one journal does not stop the others."""
        listed = list(writers)
        for start in range(0, len(listed), MAX_BATCH):
            batch = listed[start : start + MAX_BATCH]
            try:
                replies = JournalWriter.flush_together(batch)
            except (Unavailable, NotInitialized):
                # Not a reason to stop the jobs: their leases decide. The other journals would fail the same way.
                return
            except Exception:  # noqa: BLE001 (each is tried alone, and its error logged)
                replies = self._flush_one_by_one(batch)
            for writer, reply in replies.items():
                if not isinstance(reply, ThinkqueueError) and reply != "ok":
                    writers[writer](reply)

    @staticmethod
    def _flush_one_by_one(writers: list[JournalWriter]) -> dict[JournalWriter, LeaseSignal | ThinkqueueError]:
        replies: dict[JournalWriter, LeaseSignal | ThinkqueueError] = {}
        for writer in writers:
            try:
                replies[writer] = writer.flush()
            except ThinkqueueError as error:
                replies[writer] = error
            except Exception:
                log.exception("journal.flush_crashed", job_id=writer.job_id)
        return replies
