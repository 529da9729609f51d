"""Flushes the journals of all running jobs from one thread, and passes on what the job table answers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from jobs.errors import NotInitialized, Unavailable
from jobs.table.types import LeaseSignal
from worker.generate.journal import JournalWriter

log = structlog.get_logger(__name__)

FLUSH_S = 0.1
"""How often a running job writes its tokens and learns whether it was cancelled."""

OnSignal = Callable[[LeaseSignal], object]


class JournalFlusher:
    """Owns the thread that flushes; a generation registers its journal for the time that it runs."""

    def __init__(self) -> None:
        self._writers: dict[JournalWriter, OnSignal] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-flusher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
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

    def _run(self) -> None:
        while not self._stopped.wait(FLUSH_S):
            with self._lock:
                writers = tuple(self._writers.items())
            for writer, on_signal in writers:
                try:
                    signal = writer.flush()
                except (Unavailable, NotInitialized):
                    # Not a reason to stop the job: its lease decides. The other journals would fail the same way.
                    break
                except Exception:
                    log.exception("journal.flush_crashed", job_id=writer.job_id)
                    continue
                if signal != "ok":
                    on_signal(signal)
