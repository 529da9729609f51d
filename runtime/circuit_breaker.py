"""A circuit breaker: while a server does not answer, calls fail immediately.

Without it, a hundred requests queue for threads that each wait for a frozen server: the first client gets its error
after a second, the last after a minute.

All clients of a process share the breaker, so no client's call can open it: a large body that is slow, a damaged object
or a refused write says nothing about the others. A failed call only makes the breaker ask the server itself, with a
small standard request. It opens when that fails.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

PAUSE_S = 0.5
"""Time between two probes of a server that does not answer, and after a probe that succeeded."""
IDLE_S = 30.0
"""Probing ends when no call was refused for this long; the next call tests the server."""


class CircuitBreaker:
    """One for each server and process. Safe to share between threads."""

    def __init__(
        self,
        failures: tuple[type[Exception], ...],
        refusal: Callable[[str], Exception],
        probe: Callable[[], object],
        *,
        probe_timeout_s: float,
        idle_s: float = IDLE_S,
    ) -> None:
        """Create a closed breaker.

        Args:
            failures: errors of a call after which the server is probed.
            refusal: creates the error of a call that is not made.
            probe: sends a small standard request and raises any error if the server does not answer it. It runs in a
                thread of its own.
            probe_timeout_s: how long calls wait for the outcome of a probe while the breaker is closed.
            idle_s: probing ends when no call was refused for this long.
        """
        self._idle_s = idle_s
        self._failures = failures
        self._refusal = refusal
        self._probe = probe
        self._probe_timeout_s = probe_timeout_s
        self._lock = threading.Lock()
        self._is_probing = False
        self._is_known = threading.Event()
        """Cleared while the first probe after a failure runs: calls wait for its outcome."""
        self._is_known.set()
        self._is_open = False
        self._answered_at = -PAUSE_S
        self._last_refusal = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wrap one call to the server."""
        self._is_known.wait(self._probe_timeout_s)
        if self._is_open:
            self._last_refusal = time.monotonic()
            raise self._refusal("it did not answer a moment ago")
        try:
            yield
        except self._failures:
            self._start_probing()
            raise

    def _start_probing(self) -> None:
        with self._lock:
            if self._is_probing or time.monotonic() < self._answered_at + PAUSE_S:
                return
            self._is_probing = True
            self._is_known.clear()
        self._last_refusal = time.monotonic()
        threading.Thread(target=self._watch, name="circuit breaker", daemon=True).start()

    def _watch(self) -> None:
        """Probe the server until it answers."""
        try:
            while not self._is_answering():
                self._is_open = True
                self._is_known.set()
                time.sleep(PAUSE_S)
                if time.monotonic() > self._last_refusal + self._idle_s:
                    break
        finally:
            with self._lock:
                self._is_probing = self._is_open = False
            self._is_known.set()

    def _is_answering(self) -> bool:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server did not answer
            if not self._is_open:
                log.warning("breaker.opened", error=type(error).__name__)
            return False
        if self._is_open:
            log.info("breaker.closed")
        self._answered_at = time.monotonic()
        return True
