"""A circuit breaker: while a server does not answer, calls fail immediately.

Without it, a hundred requests queue for threads that each wait for a frozen server: the first client gets its error
after a second, the last after a minute.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE_S = 0.5
"""Time between two calls that test whether the server is back."""


class CircuitBreaker:
    """One for each server and process. Safe to share between threads."""

    def __init__(self, failures: tuple[type[Exception], ...], refusal: Callable[[str], Exception]) -> None:
        """Create a closed breaker.

        Args:
            failures: errors that mean that the server does not answer.
            refusal: creates the error of a call that is not made.
        """
        self._failures = failures
        self._refusal = refusal
        self._lock = threading.Lock()
        self._is_open = False
        self._next_try = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wrap one call to the server."""
        with self._lock:
            if self._is_open:
                if time.monotonic() < self._next_try:
                    raise self._refusal("it did not answer a moment ago")
                # This call tests the server; all others keep failing until it has ended.
                self._next_try = float("inf")
        try:
            yield
        except self._failures:
            self._set(is_open=True)
            raise
        except BaseException:
            self._set(is_open=False)
            raise
        self._set(is_open=False)

    def _set(self, *, is_open: bool) -> None:
        with self._lock:
            self._is_open = is_open
            self._next_try = time.monotonic() + PAUSE_S
